// Package stream brings whole files from one host to another over one authenticated connection: no process is started, nothing is
// compared. It is for files of which nothing is there yet. Where there is an earlier version or an unfinished copy, rsync
// (internal/rsync) sends only what differs.
//
//	holder                                       source's host
//	Fetch: paths, sizes          ═══ TLS ══▶     Serve: opens and reads below one folder
//	       files below a folder  ◀══ TLS ═══            modes, times, owners, bytes
//
// The format, with numbers big-endian. The holder asks:
//
//	uint16 length of the path, uint64 size of the file in bytes, path
//
// and goes on asking without waiting. Each question gets an answer, in their order:
//
//	uint8 1: it comes, 0: there is no such regular file of that size
//	uint32 mode (permission, setuid, setgid and sticky bits), uint32 owner, uint32 group, int64 modification time in ns since 1970
//	uint32 length, bytes: again and again until size bytes are there; a length of 0 says that the rest can't be read
//
// The holder hangs up when it has what it wants. What arrived is judged by what lies on disk afterwards, as with rsync.
package stream
