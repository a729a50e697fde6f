//go:build unix && !linux && !netbsd

package tree

import (
	"errors"
	"syscall"
)

// linkRefused is FreeBSD's and DragonFly's word for O_NOFOLLOW having met a link.
func linkRefused(err error) bool { return errors.Is(err, syscall.EMLINK) }
