// Package daemon wires the rooms of one host together: it opens what is in the state directory, listens on the host's one port
// and on its socket, runs the controllers, and ends all of it in order.
//
// It decides nothing about files. Who reads it learns which part talks to which, and what a peer may reach:
//
//	port (TLS 1.3, by ALPN)     dg/1        datagrams: the coordinators' messages, desired state, questions of administrators
//	                            cb-rsync/1  one rsync sender a connection, confined to a source's or location's root
//	                            cb-join/1   newcomers with a token
//	STATE/cbd.sock              the same three without TLS, for whoever may open the socket
//	--http                      /metrics /healthz /readyz and the status page
package daemon
