package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
	"clusterbackup/internal/manifest"
)

// dress gives a fetched file its owner, extended attributes, mode and time. What can't be given is no reason not to have the file.
func (r *restore) dress(f *finished, j *job) error {
	var problems error
	if j.entry != nil && !j.want.Newer && !j.want.Outdated && r.opts.At.IsZero() {
		problems = r.dressAs(f.fd, j.entry)
	}
	if err := unix.Fchmod(f.fd, j.want.Mode&0o7777); err != nil { // after the owner, a change of which takes set-id bits away
		problems = errors.Join(problems, fmt.Errorf("set mode: %w", err))
	}
	if err := f.at.SetModTime(f.base, j.want.ModTime); err != nil {
		problems = errors.Join(problems, fmt.Errorf("set modification time: %w", err))
	}
	return problems
}

// dressAs gives an open file or folder the owner and the extended attributes that the listing has.
func (r *restore) dressAs(fd int, e *manifest.Entry) error {
	var problems error
	if r.opts.Owner {
		if err := unix.Fchown(fd, int(e.UID), int(e.GID)); err != nil {
			problems = fmt.Errorf("set owner: %w", err)
		}
	}
	if len(e.Xattrs) == 0 {
		return problems
	}
	again, err := unix.Dup(fd)
	if err != nil {
		return errors.Join(problems, err)
	}
	file := os.NewFile(uintptr(again), string(e.Path))
	defer file.Close()
	return errors.Join(problems, setXattrs(file, e))
}

func setXattrs(f *os.File, e *manifest.Entry) (problems error) {
	for name, value := range e.Xattrs {
		if err := xattr.FSet(f, name, value); err != nil {
			problems = errors.Join(problems, fmt.Errorf("set extended attribute %s: %w", name, err))
		}
	}
	return problems
}

// dressFolder gives a folder its attributes. Mode and time come last: a change of owner takes set-id bits away, and every change is a
// change of time.
func (r *restore) dressFolder(at beneath.Folder, e *manifest.Entry) error {
	problems := r.dressAs(at.FD(), e)
	if err := unix.Fchmod(at.FD(), e.Mode&0o7777); err != nil {
		problems = errors.Join(problems, fmt.Errorf("set mode: %w", err))
	}
	if err := at.SetModTime(".", e.ModTime); err != nil {
		problems = errors.Join(problems, fmt.Errorf("set modification time: %w", err))
	}
	return problems
}

// makeFolders makes all folders, the empty ones too.
func (r *restore) makeFolders(ctx context.Context) error {
	return r.eachEntry(ctx, manifest.Folder, false, func(path v1.RelPath, e *manifest.Entry) {
		if !r.wasThere(e) {
			return
		}
		if err := r.target.ensure(string(path)); err != nil {
			r.blocked(path, err)
		}
	})
}

// finishFolders gives folders their attributes, the innermost first, when nothing will be written to them any more. Those that were
// there before stay as they were, unless everything is overwritten.
func (r *restore) finishFolders(ctx context.Context) error {
	err := r.eachEntry(ctx, manifest.Folder, true, func(path v1.RelPath, e *manifest.Entry) {
		at, err := r.target.top.Open(string(path))
		if err != nil {
			return // said already
		}
		defer at.Close()
		r.result.Folders++
		ours := r.target.isOurs(at, string(path))
		if !ours && r.opts.Overwrite != Always {
			return
		}
		if err := r.dressFolder(at, e); err != nil {
			r.report(path, Warned, err.Error())
		}
		r.target.finished(string(path), ours)
	})
	if err == nil {
		err = r.finishUnlisted(ctx)
	}
	if problems := r.target.closeFolders(); problems != nil {
		r.report("", Warned, problems.Error())
	}
	return err
}

// finishUnlisted gives the folders that no listing names a mode as if they had just been made.
func (r *restore) finishUnlisted(ctx context.Context) error {
	if r.target.unfinished.Load() <= 0 {
		return nil
	}
	last := ""
	return r.table.each(func(path v1.RelPath, row *row) error {
		for dir := path.Dir(); row.Want != nil && dir != "" && dir != last; dir = v1.RelPath(dir).Dir() {
			r.finishUnlistedOne(dir)
		}
		last = path.Dir()
		return ctx.Err()
	})
}

func (r *restore) finishUnlistedOne(dir string) {
	at, err := r.target.top.Open(dir)
	if err != nil {
		return // said already
	}
	defer at.Close()
	if !r.target.isOurs(at, dir) {
		return
	}
	if err := unix.Fchmod(at.FD(), r.target.mode); err != nil {
		r.report(v1.RelPath(dir), Warned, fmt.Sprintf("set mode: %v", err))
	}
	r.target.finished(dir, true)
}

// finishTarget gives the target folder what the source's root has, when all of the source is restored into a folder that was empty:
// one that is somebody's already stays as it is.
func (r *restore) finishTarget() error {
	if err := r.target.clean(); err != nil {
		return err
	}
	if r.opts.Path != "" || r.listing == nil || r.listing.Root == nil || !r.target.ours {
		return r.target.unmark()
	}
	if err := r.dressFolder(r.target.top, r.listing.Root); err != nil {
		r.report("", Warned, fmt.Sprintf("target folder: %v", err))
	}
	return nil
}

// makeLinks makes symbolic links, after everything else was written: none can lead a file astray.
func (r *restore) makeLinks(ctx context.Context) error {
	return r.eachEntry(ctx, manifest.Symlink, false, func(path v1.RelPath, e *manifest.Entry) {
		if !r.wasThere(e) {
			return
		}
		switch err := r.makeLink(path, e); {
		case errors.Is(err, fs.ErrExist):
			r.report(path, Kept, "something else has its name")
		case err != nil:
			r.blocked(path, err)
		}
	})
}

func (r *restore) makeLink(path v1.RelPath, e *manifest.Entry) error {
	if err := r.target.ensure(path.Dir()); err != nil {
		return err
	}
	if info, err := r.target.root.Lstat(string(path)); err == nil {
		if info.Mode()&fs.ModeSymlink == 0 {
			return fs.ErrExist
		}
		if now, _ := r.target.root.Readlink(string(path)); now == e.Target {
			return nil
		}
		if r.opts.Overwrite != Always && !(r.opts.Overwrite == Older && info.ModTime().UnixNano() < e.ModTime) {
			return fs.ErrExist
		}
		if err := r.target.root.Remove(string(path)); err != nil {
			return err
		}
	}
	if err := r.target.root.Symlink(e.Target, string(path)); err != nil {
		return err
	}
	r.result.Links++
	var owner error
	if r.opts.Owner {
		owner = r.target.root.Lchown(string(path), int(e.UID), int(e.GID))
	}
	if err := errors.Join(owner, r.target.setModTime(path, e.ModTime)); err != nil {
		r.report(path, Warned, err.Error())
	}
	return nil
}

// wasThere tells whether an entry of the listing that is no file may have been there at the time that is asked for: of those only the
// present ones are known. A folder that has changed since may be older; it comes with what is restored in it.
func (r *restore) wasThere(e *manifest.Entry) bool {
	return r.opts.At.IsZero() || e.ModTime <= r.opts.At.UnixNano()
}

// eachEntry visits the listing's entries of one type that are asked for (and folders on the way there).
func (r *restore) eachEntry(ctx context.Context, kind manifest.Type, backwards bool, visit func(v1.RelPath, *manifest.Entry)) error {
	return r.table.eachEntry(backwards, func(path v1.RelPath, row *row) error {
		e := row.Entry
		if e != nil && e.Type == kind {
			visit(path, e)
		}
		return ctx.Err()
	})
}

// dryRun tells what would be done.
func (r *restore) dryRun() error {
	return r.table.each(func(path v1.RelPath, row *row) error {
		switch w := row.Want; {
		case w == nil:
		case w.Outdated:
			r.report(path, Outdated, "only an earlier version has a live replica")
		default:
			r.report(path, Planned, fmt.Sprintf("%d bytes from %s", w.Size, r.holders[w.Sources[0].Holder]))
		}
		return nil
	})
}
