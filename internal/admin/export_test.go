package admin

import "net"

// Abandon ends listening as a crash does: the socket stays.
func Abandon(l net.Listener) { l.(*socket).Listener.Close() }
