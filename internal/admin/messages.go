package admin

import (
	"time"

	v1 "clusterbackup/api/v1"
)

// ApplyOptions say how Apply writes.
type ApplyOptions struct {
	// DryRun checks and answers as if, and changes nothing.
	DryRun bool
	// Create refuses objects that exist.
	Create bool
}

// Action is what Apply did to one object.
type Action string

// The values of Action.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
)

// Applied is the outcome for one object: as it is stored now.
type Applied struct {
	Object v1.Object
	Action Action
	// Warnings are for people: the object was accepted, but look here.
	Warnings []string
}

// EventQuery chooses events; zero fields choose all.
type EventQuery struct {
	Kind  string
	Name  string
	Limit int // the newest this many; 0: all that are kept
}

// Event is something that happened to an object. Equal ones in a row are counted, not repeated.
type Event struct {
	First   time.Time   `json:"firstTimestamp"`
	Last    time.Time   `json:"lastTimestamp"`
	Count   int64       `json:"count"`
	Type    string      `json:"type"` // Normal or Warning
	Reason  string      `json:"reason"`
	Kind    string      `json:"kind"`
	Name    string      `json:"name"`
	Host    v1.HostName `json:"host"` // which noted it
	Message string      `json:"message"`
}

// The values of Event.Type.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// FileQuery chooses files. At most one of the flags is set; Deleted files are left out unless it is they that are asked for.
type FileQuery struct {
	Source       v1.SourceName // "": all sources
	Path         v1.RelPath    // a file, or a folder and all below it; "": the whole source
	Underserved  bool
	Overserved   bool
	Unreplicated bool // no confirmed replica at all
	Deleted      bool
	Host         v1.HostName // only files with a replica on this host
	Limit        int         // 0: no limit
	Continue     string      // FilePage.Continue of the page that was the last
	// Acting: of a source that the host asked acts for, as far as it knows. Set between hosts.
	Acting bool
}

// FilePage is some files (up to PageSize). Continue is set when a Limit ended the listing before its end: it goes into the next
// query.
type FilePage struct {
	Files    []v1.File
	Continue string
}

// VersionInfo says what a program is.
type VersionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"` // GOOS/GOARCH
	// Protocol is the range of protocol versions spoken, for people: "1" or "1-2"; ProtocolMin and ProtocolMax are the same.
	Protocol    string      `json:"protocol"`
	ProtocolMin int         `json:"protocolMin"`
	ProtocolMax int         `json:"protocolMax"`
	Host        v1.HostName `json:"host,omitempty"`
	Cluster     string      `json:"cluster,omitempty"` // its UID
}

// Token lets one host join.
type Token struct {
	Token   string    `json:"token"`
	Address string    `json:"address"` // where it is good: the host that made it
	Expires time.Time `json:"expires"`
}

// Identity is an administrator's credential.
type Identity struct {
	Contents []byte    `json:"contents"` // of the file for --identity
	Expires  time.Time `json:"expires"`
}

// VerifyQuery says what to read: the replicas of a source, or all in a location.
type VerifyQuery struct {
	Source   v1.SourceName
	Location v1.LocationName
	// Full reads every byte, also of files that are otherwise sampled.
	Full bool
}

// VerifyProgress is how far a verification is: sums so far. Problems are those found since the item before.
type VerifyProgress struct {
	Files, Bytes           int64 // read
	TotalFiles, TotalBytes int64 // to be read; 0 where not known yet
	Corrupt, Missing       int64
	Unreachable            []HolderKey // holders that did not answer: their replicas were not read
	Problems               []VerifyProblem
	Done                   bool
}

// VerifyProblem is one bad replica.
type VerifyProblem struct {
	Source   v1.SourceName
	Path     v1.RelPath
	Location v1.LocationName
	Host     v1.HostName
	Kind     string // Corrupt or Missing
}

// TopRow is one host, location or source; fields that do not apply are zero. Rates are averages over the last minute or so.
type TopRow struct {
	Name string      `json:"name"`
	Host v1.HostName `json:"host,omitempty"`
	// Reachable tells whether the figures are fresh.
	Reachable bool `json:"reachable"`
	// Space in bytes: of a location or of all of a host's; of a source, Used is its size.
	Capacity int64 `json:"capacity"`
	Used     int64 `json:"used"`
	Free     int64 `json:"free"`
	// Bytes a second.
	Upload   float64 `json:"upload"`
	Download float64 `json:"download"`
	Verify   float64 `json:"verify"`
	// Files: of a source, its files; of a location or host, the replicas held.
	Files int64 `json:"files"`
	// Queued is how many files wait or are under way: to be copied for a source, to be copied here for a location or host.
	Queued int64 `json:"queued"`
	// Failing is how many of them wait because of an error.
	Failing int64 `json:"failing"`
}

// HolderKey names a holder: a location, and its host.
type HolderKey struct {
	Host     v1.HostName     `json:"host"`
	Location v1.LocationName `json:"location"`
}

// Holder is a location that holds something of a source.
type Holder struct {
	HolderKey
	Address string `json:"address"` // HOST:PORT of its host
	Live    bool   `json:"live"`    // it answers now
	// Why says why it does not; what it holds is not known then.
	Why string `json:"why,omitempty"`
	// Manifest is the generation of the listing it has: the greater, the newer. Zero: it has none.
	Manifest v1.Generation `json:"manifest"`
	// ManifestTime is the source's clock when that listing was made.
	ManifestTime time.Time `json:"manifestTime"`
	Files        int64     `json:"files"`
	// Acting: its host acts for the source's, which is silent.
	Acting bool `json:"acting,omitempty"`
	// CannotAct: it tried to lately, and could not.
	CannotAct bool `json:"cannotAct,omitempty"`
}

// Holding is one replica or version at a holder.
type Holding struct {
	Path    v1.RelPath
	Gen     v1.Generation
	Digest  v1.Digest
	Size    int64
	ModTime int64 // Unix nanoseconds
	Mode    uint32
	// Version is the name below versions/SOURCE for an earlier or deleted version; "": the replica under its real name.
	Version v1.RelPath
	// Since and Until are the time in which it was current, Unix nanoseconds: Until is 0 for what still is, Since 0 where it is
	// not known.
	Since, Until int64
	// Seen is when the first listing of the source was made that had this generation, and Absent when the last that had it not yet,
	// Unix nanoseconds; 0: the holder knows of none.
	Seen, Absent int64
	// Expires is when a version's retention ends, Unix nanoseconds; 0 for a replica.
	Expires int64
}
