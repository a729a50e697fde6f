package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
	"clusterbackup/internal/manifest"
)

// syncFilesystem makes all of a file system durable, if that can be relied on there.
func syncFilesystem(f *os.File) (whole bool, err error) { return beneath.SyncFilesystem(int(f.Fd())) }

// makeDurable has what was restored survive a power cut from now on: at once for a file system where that can be done, else file by
// file and folder by folder.
func (r *restore) makeDurable() error {
	d := durable{r: r, whole: map[uint64]bool{}}
	err := d.folder("")
	if err == nil {
		err = r.table.each(d.row)
	}
	if err != nil {
		return fmt.Errorf("make durable what was restored: %w", err)
	}
	return nil
}

type durable struct {
	r     *restore
	whole map[uint64]bool // file systems that are durable as a whole
	dir   string          // the latest folder, and whether it is on one
	done  bool
}

func (d *durable) row(path v1.RelPath, row *row) error {
	dir := path.Dir()
	switch {
	case row.Entry != nil && row.Entry.Type == manifest.Folder:
		dir = string(path)
	case row.Entry == nil && row.Want == nil:
		return nil
	}
	if dir != d.dir {
		if err := d.folder(dir); err != nil {
			return err
		}
	}
	if d.done || row.Want == nil {
		return nil
	}
	return d.open(string(path), (*os.File).Sync)
}

// folder sees to one folder and those above it.
func (d *durable) folder(dir string) error {
	d.dir, d.done = dir, false
	err := d.open(dir, d.sync)
	for err == nil && !d.done && dir != "" {
		dir = v1.RelPath(dir).Dir()
		err = d.open(dir, (*os.File).Sync)
	}
	return err
}

func (d *durable) sync(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	device := uint64(st.Dev)
	if d.done = d.whole[device]; d.done {
		return nil
	}
	whole, err := d.r.opts.syncFilesystem(f)
	if err != nil {
		return err
	}
	if d.whole[device], d.done = whole, whole; whole {
		return nil
	}
	return f.Sync()
}

// open leaves out what is not there (it was reported) or may not be read any more, with the mode that it had.
func (d *durable) open(name string, do func(*os.File) error) error {
	if name == "" {
		name = "."
	}
	info, err := d.r.target.root.Lstat(name)
	if err != nil && !errors.Is(err, unix.EIO) || err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	var f *os.File
	if err == nil {
		f, err = d.r.target.root.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}
