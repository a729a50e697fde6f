// Package admin is what administrators ask of a daemon: the questions of cbctl and of the status page, as one interface.
//
// The daemon implements Backend and hands it to Register; Client is the same Backend, asked from elsewhere over the transport.
// So whatever is written against Backend works alike inside the daemon, across a socket, and with a fake in tests.
//
// Errors that a Backend returns cross the wire whole when they are *Error: their Reason decides cbctl's exit code, their Hint is
// shown to the person. Any other error arrives as an *Error of reason Failed with the same text.
package admin
