package tree

import (
	"errors"
	"syscall"
)

// linkRefused is NetBSD's word for O_NOFOLLOW having met a link.
func linkRefused(err error) bool { return errors.Is(err, syscall.EFTYPE) }
