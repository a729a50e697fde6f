package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// idle is how long a connection may stand still before it is given up.
var idle = 5 * time.Minute // shorter in tests

// Folder is what is served.
type Folder struct {
	Root string // absolute
	// OneFileSystem: nothing that is mounted below the root.
	OneFileSystem bool
	// Watch, if given, sees what is read.
	Watch Watcher
}

// Watcher sees each file that is sent, one after the other.
type Watcher interface {
	// Begin: the file was opened to read, st was seen of it, and nothing of it was read.
	Begin(path v1.RelPath, fd int, st *unix.Stat_t)
	// Read: this is its next part, which is the caller's again afterwards.
	Read(part []byte)
	// End: as much was read as the file's size was at Begin. A file that could not be read so far has no End.
	End(fd int)
}

// Serve answers what the peer asks for with regular files below the folder, until the peer hangs up, the connection stands still for
// five minutes or ctx ends. No symbolic link below the folder is followed, nothing is written. conn is closed. The error, if any, is
// for a log.
func Serve(ctx context.Context, conn net.Conn, from Folder) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	top, err := beneath.OpenFolder(from.Root)
	if err != nil {
		return fmt.Errorf("serve files: %w", err)
	}
	defer top.Close()
	s := sender{folders: beneath.Cursor{Top: top}, watch: from.Watch, conn: conn, buf: make([]byte, 0, 2*chunk)}
	defer s.folders.Close()
	if from.OneFileSystem {
		if s.only, err = top.Stat("."); err != nil {
			return fmt.Errorf("serve files: %w", err)
		}
	}
	if s.watch == nil {
		s.watch = unwatched{}
	}
	if err := s.answerAll(); err != nil {
		return fmt.Errorf("serve files of %q: %w", from.Root, err)
	}
	return nil
}

// patient is a connection of which a read gives up when nothing comes any more.
type patient struct {
	net.Conn
	idle time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	p.SetReadDeadline(time.Now().Add(p.idle))
	return p.Conn.Read(b)
}

type unwatched struct{}

func (unwatched) Begin(v1.RelPath, int, *unix.Stat_t) {}
func (unwatched) Read([]byte)                         {}
func (unwatched) End(int)                             {}

// sender is one connection being served. buf has what was not sent yet.
type sender struct {
	folders beneath.Cursor
	since   time.Time   // when the root was last gone down from
	only    unix.Stat_t // a folder of the one file system that is served; zero: all are
	watch   Watcher
	conn    net.Conn
	buf     []byte
}

func (s *sender) answerAll() error {
	questions := bufio.NewReaderSize(patient{s.conn, idle}, 64<<10)
	for {
		if questions.Buffered() < questionBytes { // it may take the peer a while to ask on
			if err := s.flush(); err != nil {
				return err
			}
		}
		f, err := readQuestion(questions)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.answer(f); err != nil {
			return err
		}
	}
}

func (s *sender) answer(f File) error {
	if err := s.reserve(headerBytes); err != nil {
		return err
	}
	fd, st, err := s.open(f)
	if err != nil {
		s.buf = append(s.buf, absent)
		return nil
	}
	defer unix.Close(fd)
	s.watch.Begin(f.Path, fd, &st)
	headerFor(&st).put(s.extend(headerBytes))
	for left := f.Size; left > 0; {
		n, err := s.send(fd, int(min(left, chunk)))
		if n == 0 || err != nil { // the peer has been told that the rest does not come
			return err
		}
		left -= int64(n)
	}
	s.watch.End(fd)
	return nil
}

// stale is after what time a folder that is open is looked for again: it may have been moved out of the root.
const stale = time.Second

// open opens what was asked for, if it is a regular file of that size. Nothing else is opened: opening a device can do things, and
// lets go who waits at a FIFO.
func (s *sender) open(f File) (fd int, st unix.Stat_t, err error) {
	if now := time.Now(); now.Sub(s.since) > stale {
		s.folders.Close()
		s.since = now
	}
	at, err := s.folders.Find(f.Path.Dir())
	if err != nil {
		return -1, st, err
	}
	if st, err = at.Stat(f.Path.Base()); err == nil && !s.is(f, &st) {
		err = errOther
	}
	if err != nil {
		return -1, st, err
	}
	if fd, err = at.OpenFile(f.Path.Base()); err != nil {
		return -1, st, err
	}
	if err = beneath.Retry(func() error { return unix.Fstat(fd, &st) }); err == nil && !s.is(f, &st) {
		err = errOther
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// is tells whether st is of what was asked for.
func (s *sender) is(f File, st *unix.Stat_t) bool {
	return beneath.IsRegular(st) && st.Size == f.Size && (s.only.Ino == 0 || st.Dev == s.only.Dev)
}

func headerFor(st *unix.Stat_t) header {
	return header{mode: uint32(st.Mode) & 0o7777, owner: st.Uid, group: st.Gid, modTime: beneath.ModTime(st)}
}

var errOther = errors.New("not the file that was asked for")

// send reads the next part of a file, straight to where it is sent from; 0: there is no more, or it can't be read.
func (s *sender) send(fd, want int) (n int, err error) {
	if err := s.reserve(lengthBytes + want); err != nil {
		return 0, err
	}
	start := len(s.buf)
	length := s.extend(lengthBytes)
	part := s.extend(want)
	n, _ = beneath.ReadFull(fd, part)
	binary.BigEndian.PutUint32(length, uint32(n))
	s.buf = s.buf[:start+lengthBytes+n]
	s.watch.Read(part[:n])
	return n, nil
}

// reserve makes room for n more bytes in buf.
func (s *sender) reserve(n int) error {
	if len(s.buf)+n <= cap(s.buf) {
		return nil
	}
	return s.flush()
}

// extend lengthens buf by n bytes, which were reserved, and returns them.
func (s *sender) extend(n int) []byte {
	at := len(s.buf)
	s.buf = s.buf[:at+n]
	return s.buf[at:]
}

// flush sends what is in buf, in parts: a slow connection is none that stands still.
func (s *sender) flush() error {
	for part := range slices.Chunk(s.buf, sendAtOnce) {
		s.conn.SetWriteDeadline(time.Now().Add(idle))
		if _, err := s.conn.Write(part); err != nil {
			return err
		}
	}
	s.buf = s.buf[:0]
	return nil
}
