package stream

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// ErrWrite: nothing can be written to the destination.
var ErrWrite = errors.New("cannot write to the destination")

// Fetch is some files to bring from one folder of one peer.
type Fetch struct {
	// Subdir is where below the served folder the files are looked for; "" is the folder itself.
	Subdir string
	Files  []File
	// Dest is where each is put at its path; nobody reads there meanwhile.
	Dest beneath.Folder
	// Owner: keep numeric owner and group, where this process may.
	Owner bool
	// Idle is how long nothing may come before the connection is given up; 0: five minutes.
	Idle time.Duration
	// Meter is told of bytes as they come over the wire, and returns when more may come. An error ends the transfer.
	Meter func(ctx context.Context, bytes int) error
	// Refused is told of a file that cannot be written here for a reason of its own (its name, say). The others come.
	Refused func(path v1.RelPath, why error)
}

// Run fetches the files over conn, which it closes. nil: look at Dest for what arrived. A file that arrived has its modification
// time and mode; one that did not is absent, or unfinished with another size or modification time. An error means that the
// connection broke, or, as ErrWrite, that nothing can be written to Dest; some files may have arrived even then. The end of
// ctx ends it with ctx's cause.
func (f Fetch) Run(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	f.Files = slices.DeleteFunc(slices.Clone(f.Files), f.tooLong)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		f.ask(conn)
	}()
	from := &metered{ctx: ctx, conn: patient{conn, cmp.Or(f.Idle, idle)}, meter: f.Meter}
	in := bufio.NewReaderSize(from, chunk)
	r := receiver{Fetch: f, folders: beneath.Cursor{Top: f.Dest}, in: in, part: make([]byte, chunk)}
	if os.Geteuid() != 0 {
		r.readable = 0o400 // or its holder could not read it back
	}
	err := r.all()
	if err == nil {
		err = from.tell()
	}
	r.folders.Close()
	conn.Close()
	<-asked
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tooLong refuses a path that can't be asked for.
func (f Fetch) tooLong(file File) bool {
	if len(f.Subdir)+1+len(file.Path) <= math.MaxUint16 {
		return false
	}
	if f.Refused != nil {
		f.Refused(file.Path, fmt.Errorf("path of %d bytes is too long", len(file.Path)))
	}
	return true
}

// ask sends all questions. If it can't, the answers don't come either.
func (f Fetch) ask(conn net.Conn) {
	var questions []byte
	for _, file := range f.Files {
		file.Path = v1.RelPath(beneath.Join(f.Subdir, string(file.Path)))
		questions = appendQuestion(questions, file)
	}
	conn.Write(questions)
}

// meterStep is how many bytes come between two calls of a meter.
const meterStep = 64 << 10

// metered is a connection that tells of what is read, and gives up when nothing comes any more.
type metered struct {
	ctx    context.Context // of the one transfer that it is
	conn   patient
	meter  func(context.Context, int) error
	untold int
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.conn.Read(p)
	if m.untold += n; m.untold >= meterStep {
		if err := m.tell(); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (m *metered) tell() error {
	n := m.untold
	if m.untold = 0; n == 0 || m.meter == nil {
		return nil
	}
	return m.meter(m.ctx, n)
}

// receiver is a Fetch under way.
type receiver struct {
	Fetch
	folders beneath.Cursor
	in      *bufio.Reader
	part    []byte
	// readable is what each file's mode has at the least.
	readable uint32
}

func (r *receiver) all() error {
	for _, file := range r.Files {
		if err := r.one(file); err != nil {
			return fmt.Errorf("fetch %q: %w", file.Path, err)
		}
	}
	return nil
}

// outEvery is after how many bytes of a file they are sent on to the disk, which has nothing to do else until the kernel wants memory
// back or the batch is synced.
const outEvery = 8 << 20

// one takes the answer to one question. The error is one that concerns all files.
func (r *receiver) one(file File) error {
	h, there, err := r.header()
	if err != nil || !there {
		return err
	}
	fd, at, refused := r.create(file.Path, h.mode)
	if refused == nil {
		defer unix.Close(fd)
	}
	written, out := int64(0), int64(0)
	whole, err := r.bytes(file.Size, func(part []byte) error {
		if refused == nil {
			refused = beneath.WriteAll(fd, part)
		}
		if written += int64(len(part)); refused == nil && written-out >= outEvery {
			beneath.WriteOut(fd, out, written-out)
			out = written
		}
		return concernsAll(refused)
	})
	if err == nil && whole && refused == nil {
		refused = r.dress(fd, at, file.Path, h)
	}
	if err == nil && refused != nil {
		return r.refuse(file.Path, refused)
	}
	return err
}

// header tells whether the file comes, and how.
func (r *receiver) header() (h header, there bool, err error) {
	status, err := r.in.ReadByte()
	switch {
	case err != nil:
		return h, false, broken(err)
	case status == absent:
		return h, false, nil
	case status != comes:
		return h, false, ErrProtocol
	}
	var b [headerBytes - 1]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return h, false, broken(err)
	}
	return headerOf(b[:]), true, nil
}

func (r *receiver) create(path v1.RelPath, mode uint32) (fd int, at beneath.Folder, err error) {
	if at, err = r.folders.Make(path.Dir(), func(string) {}); err != nil {
		return -1, at, err
	}
	fd, err = at.Create(path.Base(), mode&0o777|0o600)
	return fd, at, err
}

// bytes takes a file's bytes and tells whether all came.
func (r *receiver) bytes(size int64, write func([]byte) error) (whole bool, err error) {
	for size > 0 {
		var length [lengthBytes]byte
		if _, err := io.ReadFull(r.in, length[:]); err != nil {
			return false, broken(err)
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if n > min(size, chunk) {
			return false, ErrProtocol
		}
		if n == 0 {
			return false, nil
		}
		if _, err := io.ReadFull(r.in, r.part[:n]); err != nil {
			return false, broken(err)
		}
		if err := write(r.part[:n]); err != nil {
			return false, err
		}
		size -= n
	}
	return true, nil
}

// broken is the error of a connection from which more was to come.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// dress gives a file that is whole its owner and mode, as far as this process and the file system can, and its time.
func (r *receiver) dress(fd int, at beneath.Folder, path v1.RelPath, h header) error {
	var now unix.Stat_t
	if err := beneath.Retry(func() error { return unix.Fstat(fd, &now) }); err != nil {
		return err
	}
	if r.Owner && (now.Uid != h.owner || now.Gid != h.group) {
		_ = beneath.Retry(func() error { return unix.Fchown(fd, int(h.owner), int(h.group)) })
	}
	if mode := h.mode | r.readable; uint32(now.Mode)&0o7777 != mode { // changing the owner takes no bits that come with the creation
		_ = beneath.Retry(func() error { return unix.Fchmod(fd, mode) })
	}
	return at.SetModTime(path.Base(), h.modTime)
}

// refuse notes that a file can't be written, unless that concerns all.
func (r *receiver) refuse(path v1.RelPath, why error) error {
	if err := concernsAll(why); err != nil {
		return err
	}
	if r.Refused != nil {
		r.Refused(path, why)
	}
	return nil
}

// concernsAll returns why, as ErrWrite, if it is a reason why other files can't be written either.
func concernsAll(why error) error {
	for _, all := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ESTALE, unix.ENXIO} {
		if errors.Is(why, all) {
			return fmt.Errorf("%w: %w", ErrWrite, why)
		}
	}
	return nil
}
