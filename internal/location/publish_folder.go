package location

import (
	"cmp"
	"slices"
	"strings"

	"clusterbackup/internal/beneath"
)

// Most of a first backup are folders of which nothing is there yet. One in which nothing lies but files that passed gets its name with all
// that is in it, which costs as much as one file's does.

// folderMove is such a folder.
type folderMove struct {
	dir   string // its name, below the location
	files []*arrival
}

// planFolders finds the folders that can be moved whole, the topmost ones. What it cannot look at moves file by file.
func (b *Batch) planFolders(arrivals []*arrival) []folderMove {
	if !b.sync.whole { // each of its folders would have to be made durable
		return nil
	}
	p := folderPlan{byFolder: map[string][]*arrival{}, mode: b.l.folderMode}
	for _, a := range arrivals {
		p.byFolder[a.dir] = append(p.byFolder[a.dir], a)
	}
	from, err := b.sync.top.Open(beneath.Join(partialRoot, b.name))
	if err != nil {
		return nil
	}
	defer from.Close()
	to, err := b.l.top.Open(string(b.source))
	switch {
	case isAbsent(err):
		to = beneath.None
	case err != nil:
		return nil
	default:
		defer to.Close()
	}
	p.below(from, to, string(b.source))
	return p.moves
}

// folderPlan goes through the folders that files came in. byFolder has the files by the folder where they are to go, in the order of their
// names, mode is the mode of a folder that we made.
type folderPlan struct {
	byFolder map[string][]*arrival
	mode     uint32
	moves    []folderMove
}

// below plans for what came below from, which is to go below dir. That is open as to, None if it is not there.
func (p *folderPlan) below(from, to beneath.Folder, dir string) {
	names, _ := from.Names()
	for _, name := range names {
		if p.has(dir, name) {
			continue
		}
		if child, err := from.Child(name); err == nil {
			p.folder(child, to, dir, name)
			child.Close()
		}
	}
}

func (p *folderPlan) folder(from, parent beneath.Folder, parentDir, name string) {
	to, dir := beneath.None, beneath.Join(parentDir, name)
	if parent != beneath.None {
		var err error
		if to, err = parent.Child(name); err == nil {
			defer to.Close()
		} else if there, err := parent.Exists(name); there || err != nil {
			return // no folder, or one that can't be opened
		} else {
			to = beneath.None
		}
	}
	if to == beneath.None {
		if files, ok := p.all(from, dir); ok {
			for _, a := range files {
				a.inFolder, a.held = true, false
			}
			p.moves = append(p.moves, folderMove{dir, files})
			return
		}
	}
	p.below(from, to, dir)
}

// all returns the files below a folder that is to become dir, if nothing else lies there.
func (p *folderPlan) all(from beneath.Folder, dir string) (files []*arrival, ok bool) {
	if st, err := from.Stat("."); err != nil || uint32(st.Mode)&0o7777 != p.mode {
		return nil, false
	}
	names, err := from.Names()
	if err != nil {
		return nil, false
	}
	files = slices.Clone(p.byFolder[dir])
	missing := len(files)
	for _, name := range names {
		if p.has(dir, name) {
			missing--
			continue
		}
		child, err := from.Child(name)
		if err != nil {
			return nil, false
		}
		below, ok := p.all(child, beneath.Join(dir, name))
		child.Close()
		if !ok {
			return nil, false
		}
		files = append(files, below...)
	}
	return files, missing == 0 && len(files) > 0
}

// has tells whether a file of that name is to go to dir.
func (p *folderPlan) has(dir, name string) bool {
	_, found := slices.BinarySearchFunc(p.byFolder[dir], name, func(a *arrival, name string) int { return cmp.Compare(a.base, name) })
	return found
}

// moveFolder gives a folder its name. Why it can't is each file's error.
func (b *Batch) moveFolder(f folderMove) {
	err := b.renameFolder(f)
	for _, a := range f.files {
		a.out.Err = err
	}
}

func (b *Batch) renameFolder(f folderMove) error {
	_, below, _ := strings.Cut(f.dir, "/") // the source's name
	parent, name := beneath.Split(below)
	from, err := b.sync.top.Open(beneath.Join(partialRoot, b.name, parent))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := b.sync.top.Ensure(beneath.Join(string(b.source), parent), beneath.FolderMode, b.sync.touched)
	if err != nil {
		return err
	}
	defer to.Close()
	return from.Rename(name, to, name)
}
