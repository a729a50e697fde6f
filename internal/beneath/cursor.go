package beneath

// Cursor keeps the folder below Top open that was asked for last: callers go through files in path order.
type Cursor struct {
	Top  Folder
	path string
	at   Folder
	open bool
}

// Close closes it. The next Find opens anew.
func (c *Cursor) Close() {
	if c.open {
		c.at.Close()
		c.open = false
	}
}

func (c *Cursor) move(path string, enter func(string) (Folder, error)) (Folder, error) {
	if c.open && c.path == path {
		return c.at, nil
	}
	c.Close()
	at, err := enter(path)
	if err == nil {
		c.at, c.path, c.open = at, path, true
	}
	return at, err
}

// Find opens the folder at path.
func (c *Cursor) Find(path string) (Folder, error) { return c.move(path, c.Top.Open) }

// FolderMode is the mode of the folders that Make makes, less the process's umask.
const FolderMode = 0o755

// Make opens the folder at path and makes what is missing of it.
func (c *Cursor) Make(path string, made func(string)) (Folder, error) {
	return c.move(path, func(p string) (Folder, error) { return c.Top.Ensure(p, FolderMode, made) })
}
