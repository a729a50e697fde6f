package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	v1 "clusterbackup/api/v1"
)

// Retirees visits the keys of what a holder is to retire, those after a key; visit returns false to end.
func (tx *Tx) Retirees(h HolderID, after Key, visit func(Key) bool) {
	from := retireKey(h, after)
	if after != "" {
		from = append(from, 0)
	}
	cur := tx.retire.Cursor()
	for k, _ := cur.Seek(from); len(k) > 10 && HolderID(binary.BigEndian.Uint16(k)) == h; k, _ = cur.Next() {
		if !visit(Key(k[2:])) {
			return
		}
	}
}

// InFolder visits the entries of one folder in the order of their names.
func (tx *Tx) InFolder(folder uint64, visit func(Key, *Entry) error) error {
	prefix := be64(folder)
	cur := tx.entries.Cursor()
	for k, v := cur.Seek(prefix); len(k) > 8 && string(k[:8]) == string(prefix); k, v = cur.Next() {
		e, err := decodeEntry(v)
		if err != nil {
			return fmt.Errorf("%w: %q: %w", ErrCorrupt, k, err)
		}
		if err := visit(Key(k), e); err != nil {
			return err
		}
	}
	return nil
}

// Item is one entry with its path.
type Item struct {
	Path  v1.RelPath
	Key   Key
	Entry *Entry
}

// chunk is how many entries are read in one transaction while listing.
const chunk = 512

// Walk visits the entries at and below prefix ("" is all), a folder before what is in it, those after the path after (if not
// empty). No transaction is open while visit runs, so that it may take its time. visit returns false to end.
func (c *Catalog) Walk(ctx context.Context, prefix, after string, visit func(Item) bool) error {
	if prefix != "" {
		if done, err := c.visitOne(prefix, after, visit); done || err != nil {
			return err
		}
	}
	if after == "" {
		after = prefix
		if prefix != "" {
			after += "/"
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		items, err := c.page(prefix, after)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, item := range items {
			if !visit(item) {
				return nil
			}
		}
		after = string(items[len(items)-1].Path)
	}
}

// visitOne visits prefix itself, if it is due.
func (c *Catalog) visitOne(prefix, after string, visit func(Item) bool) (done bool, err error) {
	if after != "" {
		return false, nil
	}
	item := Item{Path: v1.RelPath(prefix)}
	err = c.View(func(tx *Tx) (err error) {
		item.Key, item.Entry, err = tx.Find(item.Path)
		return err
	})
	if err != nil || item.Entry == nil {
		return true, err
	}
	return !visit(item) || item.Entry.Child == 0, nil
}

// page reads the next entries after a path. A path that ends in a slash stands for the folder's begin.
func (c *Catalog) page(prefix, after string) (items []Item, err error) {
	err = c.View(func(tx *Tx) error {
		items = items[:0]
		w := &walk{tx: tx, prefix: prefix}
		return w.from(after, &items)
	})
	return items, err
}

// walk goes through the tree depth first.
type walk struct {
	tx     *Tx
	prefix string
	stack  []level
}

// level is a folder under way, and the name after which to go on.
type level struct {
	id    uint64
	path  string
	after string
}

// from finds the place after a path, as far as its folders are still there, and reads on from there.
func (w *walk) from(after string, items *[]Item) error {
	w.stack = []level{{id: rootFolder}}
	rest := after
	for rest != "" {
		name, more, deeper := strings.Cut(rest, "/")
		top := &w.stack[len(w.stack)-1]
		top.after = name
		child, ok := w.child(top.id, name)
		if !ok {
			break
		}
		w.stack = append(w.stack, level{id: child, path: join(top.path, name)})
		if rest = more; !deeper {
			break
		}
	}
	return w.read(items)
}

func (w *walk) child(folder uint64, name string) (uint64, bool) {
	value := w.tx.entries.Get([]byte(keyOf(folder, name)))
	if len(value) < childEnd || value[flagsAt]&flagChild == 0 {
		return 0, false
	}
	return binary.BigEndian.Uint64(value[childAt:]), true
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// within tells whether a folder is at or below the prefix.
func (w *walk) within(path string) bool {
	return w.prefix == "" || path == w.prefix || strings.HasPrefix(path, w.prefix+"/")
}

func (w *walk) read(items *[]Item) error {
	for len(w.stack) > 0 {
		top := w.stack[len(w.stack)-1]
		if !w.within(top.path) {
			return nil
		}
		descended, err := w.folder(&top, items)
		if err != nil || len(*items) >= chunk {
			return err
		}
		if !descended {
			w.stack = w.stack[:len(w.stack)-1]
		}
	}
	return nil
}

// folder reads on in one folder until its end, or down into the next.
func (w *walk) folder(at *level, items *[]Item) (descended bool, err error) {
	prefix := be64(at.id)
	from := []byte(keyOf(at.id, at.after))
	if at.after != "" {
		from = append(from, 0)
	}
	cur := w.tx.entries.Cursor()
	for k, v := cur.Seek(from); len(k) > 8 && string(k[:8]) == string(prefix); k, v = cur.Next() {
		e, err := decodeEntry(v)
		if err != nil {
			return false, fmt.Errorf("%w: %q: %w", ErrCorrupt, k, err)
		}
		name := string(k[8:])
		path := join(at.path, name)
		*items = append(*items, Item{Path: v1.RelPath(path), Key: Key(k), Entry: e})
		if len(*items) >= chunk {
			return false, nil
		}
		if e.Child != 0 {
			w.stack[len(w.stack)-1].after = name
			w.stack = append(w.stack, level{id: e.Child, path: path})
			return true, nil
		}
	}
	return false, nil
}

// HeldBy visits the files that a holder is known to have, in whatever state; visit returns false to end.
func (tx *Tx) HeldBy(h HolderID, visit func(Key) bool) error {
	going := true
	each := func(key Key) bool {
		going = visit(key)
		return going
	}
	for _, class := range tx.c.Classes() {
		if going && (slices.Contains(class.Confirmed, h) || slices.Contains(class.Other, h)) {
			tx.Members(class.ID, math.MaxInt64, Member{}, func(m Member) bool { return each(m.Key) })
		}
	}
	if going {
		tx.Retirees(h, "", each)
	}
	if !going {
		return nil
	}
	var failed error
	err := tx.Grants(func(g Grant) bool {
		if g.Holder != h {
			return true
		}
		e, err := tx.Get(g.Key)
		failed = err
		return err == nil && (e == nil || e.Replica(h) == nil || each(g.Key))
	})
	return errors.Join(err, failed)
}
