package manifest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	v1 "clusterbackup/api/v1"
)

// What Read can answer.
var (
	ErrTruncated = errors.New("manifest is cut short")
	ErrCorrupt   = errors.New("manifest is corrupt")
	ErrFormat    = errors.New("manifest has a format that this version doesn't know")
)

// headerLine and the others are the format's keys; changing one changes Format.
type headerLine struct {
	Format     int            `json:"format"`
	Source     v1.SourceName  `json:"source"`
	ClusterUID string         `json:"clusterUID,omitempty"`
	SourceUID  string         `json:"sourceUID,omitempty"`
	Generation *v1.Generation `json:"generation,omitempty"`
	Time       time.Time      `json:"time"`
	Host       v1.HostName    `json:"host,omitempty"`
	Root       *entryLine     `json:"root,omitempty"`
}

type entryLine struct {
	Path         string            `json:"path,omitempty"`
	PathBase64   []byte            `json:"pathBase64,omitempty"`
	Type         Type              `json:"type,omitempty"`
	Size         int64             `json:"size,omitempty"`
	ModTime      string            `json:"modTime,omitempty"`
	Mode         string            `json:"mode,omitempty"`
	UID          uint32            `json:"uid"`
	GID          uint32            `json:"gid"`
	User         string            `json:"user,omitempty"`
	Group        string            `json:"group,omitempty"`
	Target       string            `json:"target,omitempty"`
	TargetBase64 []byte            `json:"targetBase64,omitempty"`
	Xattrs       map[string][]byte `json:"xattrs,omitempty"`
	XattrsBase64 map[string][]byte `json:"xattrsBase64,omitempty"` // names in base64, too
	Digest       string            `json:"sha256,omitempty"`
	Generation   *v1.Generation    `json:"generation,omitempty"`
	End          *endLine          `json:"end,omitempty"` // of the last line, which has nothing else
}

type endLine struct {
	Entries int64 `json:"entries"`
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
}

func (e *Entry) line() *entryLine {
	l := &entryLine{Type: e.Type, Size: e.Size, ModTime: formatTime(e.ModTime), Mode: fmt.Sprintf("%04o", e.Mode), UID: e.UID, GID: e.GID,
		User: e.User, Group: e.Group, Digest: e.Digest.String(), Generation: generation(e.Generation)}
	l.Path, l.PathBase64 = text(string(e.Path))
	l.Target, l.TargetBase64 = text(e.Target)
	for name, value := range e.Xattrs {
		if utf8.ValidString(name) {
			setXattr(&l.Xattrs, name, value)
		} else {
			setXattr(&l.XattrsBase64, base64.StdEncoding.EncodeToString([]byte(name)), value)
		}
	}
	return l
}

func (l *entryLine) entry() (e Entry, err error) {
	e = Entry{Path: v1.RelPath(untext(l.Path, l.PathBase64)), Type: l.Type, Size: l.Size, UID: l.UID, GID: l.GID, User: l.User,
		Group: l.Group, Target: untext(l.Target, l.TargetBase64)}
	if e.ModTime, err = parseTime(l.ModTime); err != nil {
		return e, err
	}
	mode, err := strconv.ParseUint(l.Mode, 8, 12)
	if err != nil {
		return e, fmt.Errorf("mode: %w", err)
	}
	e.Mode = uint32(mode)
	if err := e.Digest.UnmarshalText([]byte(l.Digest)); err != nil {
		return e, err
	}
	if l.Generation != nil {
		e.Generation = *l.Generation
	}
	for name, value := range l.Xattrs {
		setXattr(&e.Xattrs, name, value)
	}
	for name, value := range l.XattrsBase64 {
		raw, err := base64.StdEncoding.DecodeString(name)
		if err != nil {
			return e, fmt.Errorf("attribute's name: %w", err)
		}
		setXattr(&e.Xattrs, string(raw), value)
	}
	return e, e.check()
}

// check refuses what no walk gives: a manifest may come from a peer.
func (e *Entry) check() error {
	switch e.Type {
	case File, Folder, Symlink, Other:
	default:
		return fmt.Errorf("type %q", e.Type)
	}
	if e.Size < 0 {
		return fmt.Errorf("size %d", e.Size)
	}
	if (e.Type == Symlink) != (e.Target != "") {
		return fmt.Errorf("%s has target %q", e.Type, e.Target)
	}
	return nil
}

func (e *Entry) checkRoot() error {
	if e.Type != Folder || e.Path != "" {
		return fmt.Errorf("%s with path %q", e.Type, e.Path)
	}
	return nil
}

func generation(g v1.Generation) *v1.Generation {
	if g.IsZero() {
		return nil
	}
	return &g
}

// text gives s as it is, or where JSON cannot hold it, as bytes.
func text(s string) (string, []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return "", []byte(s)
}

func untext(s string, raw []byte) string {
	if len(raw) > 0 {
		return string(raw)
	}
	return s
}

func setXattr(attrs *map[string][]byte, name string, value []byte) {
	if *attrs == nil {
		*attrs = map[string][]byte{}
	}
	(*attrs)[name] = value
}

func formatTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// parseTime refuses times that nanoseconds in 64 bits cannot tell.
func parseTime(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("time: %w", err)
	}
	ns := t.UnixNano()
	if !time.Unix(0, ns).Equal(t) {
		return 0, fmt.Errorf("time %s is out of range", s)
	}
	return ns, nil
}
