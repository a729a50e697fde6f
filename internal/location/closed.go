package location

import (
	"crypto/rand"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

// closedFile holds a word that the index holds too, from the moment the location was closed in order until it is opened again. An
// index that was put back, a disk that was put back, a crash: in each case the words are not both there or not the same, and the
// index is compared with the files before anyone relies on what it says.
const closedFile = kept + "/closed"

var keyClosed = []byte("closed")

// maxClosed bounds the word.
const maxClosed = 64

// markClosed writes the word to both sides. Failing costs a comparison, no more.
func (l *Location) markClosed() error {
	word := rand.Text()
	err := l.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(bucketMeta).Put(keyClosed, []byte(word)), l.stampClock(tx))
	})
	if err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	dir, base := beneath.Split(closedFile)
	at, err := l.top.Open(dir)
	if err != nil {
		return fmt.Errorf("mark location closed: %w", err)
	}
	defer at.Close()
	fd, err := at.Create(base, 0o600)
	if err != nil {
		return fmt.Errorf("mark location closed: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(word)); err != nil {
		return fmt.Errorf("mark location closed: %w", err)
	}
	if err := beneath.Fsync(fd); err != nil {
		return fmt.Errorf("mark location closed: %w", err)
	}
	return beneath.Fsync(at.FD())
}

// takeClosed tells whether the index is the one that the location was closed with, and takes the mark away, durably, before
// anything is changed.
func (l *Location) takeClosed() (whole bool, err error) {
	dir, base := beneath.Split(closedFile)
	at, err := l.top.Open(dir)
	if err != nil {
		return false, err
	}
	defer at.Close()
	fd, err := at.OpenFile(base)
	if isAbsent(err) {
		return false, nil
	}
	if err == nil {
		word := make([]byte, maxClosed)
		n, readErr := unix.Read(fd, word)
		_ = unix.Close(fd)
		err = l.db.View(func(tx *bbolt.Tx) error {
			known := tx.Bucket(bucketMeta).Get(keyClosed)
			whole = readErr == nil && len(known) > 0 && string(known) == string(word[:max(n, 0)])
			return nil
		})
	}
	if err != nil {
		return false, err
	}
	if err := at.Remove(base); err != nil {
		return false, fmt.Errorf("remove %s: %w", closedFile, err)
	}
	return whole, beneath.Fsync(at.FD())
}
