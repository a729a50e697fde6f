package tree

import "golang.org/x/sys/unix"

// noAtime: being backed up is no access that its owner would want to see.
const noAtime = unix.O_NOATIME
