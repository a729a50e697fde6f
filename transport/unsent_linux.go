package transport

import (
	"net"

	"golang.org/x/sys/unix"
)

// limitUnsent keeps what the kernel holds unsent short, so that what is urgent
// does not wait behind what is bulk.
func limitUnsent(t *net.TCPConn) {
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 128<<10)
	})
}
