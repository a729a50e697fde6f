package manifest

import (
	"time"

	v1 "clusterbackup/api/v1"
)

// Format is the number of the format that Write writes, and the greatest that Read reads.
const Format = 1

// Header says what is listed.
type Header struct {
	Format     int // set by NewWriter
	Source     v1.SourceName
	ClusterUID string
	SourceUID  string
	Generation v1.Generation // the greatest in the listing
	Time       time.Time     // when the listing was made
	Host       v1.HostName
	Root       *Entry // the root folder's own attributes; its Path is empty
}

// Type is what an entry is.
type Type string

// The types.
const (
	File    Type = "file"
	Folder  Type = "folder"
	Symlink Type = "symlink"
	Other   Type = "other" // socket, FIFO, device: listed, not backed up
)

// Entry is one path of the source.
type Entry struct {
	Path       v1.RelPath
	Type       Type
	Size       int64
	ModTime    int64  // nanoseconds since 1970
	Mode       uint32 // permission, set-id and sticky bits: 07777
	UID, GID   uint32
	User       string // the owner's name on the source's host; "" if it has none
	Group      string
	Target     string            // of a symbolic link, as bytes
	Xattrs     map[string][]byte // extended attributes
	Digest     v1.Digest         // zero: not known yet
	Generation v1.Generation     // zero for what is no file
}
