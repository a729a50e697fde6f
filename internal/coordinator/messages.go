package coordinator

import (
	"time"

	v1 "clusterbackup/api/v1"
)

// Paths and folders are bytes in CBOR text strings: encoders and decoders of these messages must let invalid UTF-8 pass.
//
// Life and Turn order a client's messages to one coordinator, because networks deliver late and twice. Life is drawn by the
// coordinator for each client, when it starts and whenever the client's session is another, and told in [HelloAnswer]. Turn is the client's: it grows with every Inventory, Confirm,
// Drop, Dropped, Retire, Retired and Report to that coordinator, starting above HelloAnswer.Turn (0 in a new Life). The client keeps these rules, for
// each source (one lock held around each exchange does it):
//
//   - While a Drop or Retire is open, or a grant is neither acted on nor given up, it sends no Hello, Inventory or Confirm.
//   - It ignores the answer to a request that it gave up waiting for.
//   - Grants are forgotten at restart, and when Life changes. A grant's time runs from before the Drop was sent, on a clock that
//     does not stop while the host sleeps.

// Echo is told by an answer and repeated by the next message, which proves that the message was sent after the answer. Else nothing
// would: it may have lain in a buffer while the coordinator's process stood still, and its sender be dead since.
type Echo struct {
	Life uint64 `cbor:"1,keyasint,omitempty"`
	// At is when the coordinator answered, by its Config.Boottime.
	At time.Duration `cbor:"2,keyasint,omitempty"`
}

// Record is a replica as its holder knows it.
type Record struct {
	Path v1.RelPath `cbor:"1,keyasint"`
	// Gen is zero when the holder does not know it (its index was rebuilt from the disk).
	Gen v1.Generation `cbor:"2,keyasint"`
	// Digest is of the bytes on the holder's disk.
	Digest  v1.Digest `cbor:"3,keyasint"`
	Size    int64     `cbor:"4,keyasint"`
	ModTime int64     `cbor:"5,keyasint"`
	// Verified is when the holder last computed Digest from those bytes, Unix seconds; 0: it does not say.
	Verified int64 `cbor:"6,keyasint,omitempty"`
}

// LocationInfo is one location of the host that asks. Only locations that are there and are the ones they were are told.
type LocationInfo struct {
	Name v1.LocationName `cbor:"1,keyasint"`
	UID  string          `cbor:"2,keyasint,omitempty"`
	// Capacity, Used and Free are in bytes; Free is what new replicas may take, copies under way subtracted.
	Capacity int64 `cbor:"3,keyasint"`
	Used     int64 `cbor:"4,keyasint"`
	Free     int64 `cbor:"5,keyasint"`
	// NoNew: cordoned, it takes no new replicas. Draining: it is being emptied, and takes none either.
	NoNew    bool `cbor:"6,keyasint,omitempty"`
	Draining bool `cbor:"7,keyasint,omitempty"`
	// MaxFile is the largest file it can take; 0: Free.
	MaxFile int64 `cbor:"8,keyasint,omitempty"`
	// Listing is the version of the source's manifest that lies there; empty: none.
	Listing string `cbor:"9,keyasint,omitempty"`
}

// Hello says who asks: the heartbeat, and the first message after a coordinator or a client has started.
type Hello struct {
	Source v1.SourceName `cbor:"1,keyasint"`
	// Session is drawn when the client's daemon starts.
	Session uint64 `cbor:"2,keyasint"`
	// Highest is the greatest generation among the replicas that the client holds of this source.
	Highest   v1.Generation  `cbor:"3,keyasint"`
	Locations []LocationInfo `cbor:"4,keyasint"`
	// Holds: the client holds replicas of this source.
	Holds bool `cbor:"5,keyasint,omitempty"`
	// Sought is how many bytes the other sources that the client copies from lack (their HelloAnswer.Needed): they look for a place
	// in its locations too.
	Sought int64 `cbor:"6,keyasint,omitempty"`
	Echo   Echo  `cbor:"7,keyasint,omitzero"`
}

// HelloAnswer says how the coordinator stands to the client.
type HelloAnswer struct {
	SourceUID string `cbor:"1,keyasint,omitempty"`
	Epoch     uint64 `cbor:"2,keyasint"`
	Seq       uint64 `cbor:"3,keyasint"`
	// Life is to be carried by the messages that have such a field. Turn is the highest the coordinator has seen in it.
	Life uint64 `cbor:"4,keyasint"`
	Turn uint64 `cbor:"5,keyasint"`
	// NeedInventory: the locations named in Inventory have not said what they hold since the coordinator or the client started.
	NeedInventory bool              `cbor:"6,keyasint,omitempty"`
	Inventory     []v1.LocationName `cbor:"7,keyasint,omitempty"`
	// Claimable: a Claim may find files that are underserved. Extra: a Claim with Extra set may find files that have enough
	// replicas but fewer than maxReplicas.
	Claimable bool `cbor:"8,keyasint,omitempty"`
	Extra     bool `cbor:"9,keyasint,omitempty"`
	// Retire: files that the client holds are deleted in the source. Surplus: a Drop may be granted.
	Retire  bool `cbor:"10,keyasint,omitempty"`
	Surplus bool `cbor:"11,keyasint,omitempty"`
	// Manifest is the version of the newest manifest; empty: none yet. From one that acts for the source's host it is for those that have none.
	Manifest string `cbor:"12,keyasint,omitempty"`
	// PollAfter is when to say Hello again when there is nothing to do.
	PollAfter time.Duration `cbor:"13,keyasint"`
	// Needed is how many bytes underserved files lack, on any host.
	Needed int64 `cbor:"14,keyasint,omitempty"`
	Echo   Echo  `cbor:"15,keyasint,omitzero"`
}

// FolderInventory is one folder of a source as one location holds it.
type FolderInventory struct {
	// Folder is the folder's path, "" for the source's root.
	Folder string `cbor:"1,keyasint"`
	// Digest is FolderDigest of its records.
	Digest [16]byte `cbor:"2,keyasint"`
	// Records are the replicas in the folder itself, not below; nil: the digest only.
	Records []Record `cbor:"3,keyasint,omitempty"`
	// Files is how many records there are; 0: it is not said.
	Files int `cbor:"4,keyasint,omitempty"`
}

// Inventory says, in pages, what a location holds of a source. Folders come in any order, each whole in one entry; a folder
// with no replica is not sent.
type Inventory struct {
	Source   v1.SourceName     `cbor:"1,keyasint"`
	Location v1.LocationName   `cbor:"2,keyasint"`
	Session  uint64            `cbor:"3,keyasint"`
	Life     uint64            `cbor:"4,keyasint"`
	Turn     uint64            `cbor:"5,keyasint"`
	Folders  []FolderInventory `cbor:"6,keyasint,omitempty"`
	// First begins the location's inventory anew. Last ends it: what the coordinator believed there and was not told is lost.
	First bool `cbor:"7,keyasint,omitempty"`
	Last  bool `cbor:"8,keyasint,omitempty"`
}

// Action is what a verdict asks of the holder.
type Action uint8

// The actions.
const (
	// ActionKeep is never listed.
	ActionKeep Action = iota
	// ActionConfirm: it fits the current version by size and time but does not count; Confirm it with the digest of what is on disk.
	ActionConfirm
	// ActionStale: there is a newer version; keep it until that one is there.
	ActionStale
	// ActionUnknown: the source has no such file; retire it.
	ActionUnknown
)

// Verdict is what the coordinator thinks of one record. No verdict on a record: keep it.
type Verdict struct {
	Path   v1.RelPath    `cbor:"1,keyasint"`
	Gen    v1.Generation `cbor:"2,keyasint"`
	Action Action        `cbor:"3,keyasint"`
}

// InventoryAnswer answers one page.
type InventoryAnswer struct {
	// Want lists folders whose digest differs: send them with their records.
	Want     []string  `cbor:"1,keyasint,omitempty"`
	Verdicts []Verdict `cbor:"2,keyasint,omitempty"`
}

// Claim asks for files to copy into a location.
type Claim struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	// Room is how many bytes the location can take now. MaxFiles and MaxBytes bound the answer; MaxBytes 0: Room. A single file larger
	// than MaxBytes is given alone.
	Room     int64 `cbor:"3,keyasint"`
	MaxFiles int   `cbor:"4,keyasint"`
	MaxBytes int64 `cbor:"5,keyasint"`
	// Kept is how many bytes of Room are kept for other sources' large files: what is given leaves them.
	Kept int64 `cbor:"7,keyasint,omitempty"`
	// Extra also asks for files that have enough replicas, up to maxReplicas. To be set only when no source that the host
	// copies from has underserved files for it.
	Extra bool `cbor:"6,keyasint,omitempty"`
}

// Claimed is one file that is the claimer's to copy.
type Claimed struct {
	Path    v1.RelPath    `cbor:"1,keyasint"`
	Gen     v1.Generation `cbor:"2,keyasint"`
	Size    int64         `cbor:"3,keyasint"`
	ModTime int64         `cbor:"4,keyasint"`
	Mode    uint32        `cbor:"5,keyasint"`
	// Held: the location holds some version of it already.
	Held bool `cbor:"6,keyasint,omitempty"`
	// Extra: it has enough replicas; this one uses spare room.
	Extra bool `cbor:"7,keyasint,omitempty"`
	// Digest, if not zero, is what the file must have when it arrives.
	Digest v1.Digest `cbor:"8,keyasint,omitzero"`
}

// ClaimAnswer is ordered: what matters most comes first.
type ClaimAnswer struct {
	Files []Claimed `cbor:"1,keyasint,omitempty"`
	// Lease is how long the claims last; a Renew begins them anew.
	Lease time.Duration `cbor:"2,keyasint"`
	// RetryAfter is when to ask again if there is less than was asked for.
	RetryAfter time.Duration `cbor:"3,keyasint"`
	// Wanted: that many more bytes of room in this location would let it take files that have no other place. 0: none.
	Wanted int64 `cbor:"4,keyasint,omitempty"`
	// Largest is the size of the largest file that lacks a copy and could be given to this location. A location that several sources
	// fill keeps room for the largest of them all, else small ones of one source would take the only place of another's large one.
	Largest int64 `cbor:"5,keyasint,omitempty"`
	// Origin is where all the files are to be copied from; nil: the source. Then they replace nothing.
	Origin *Origin `cbor:"6,keyasint,omitempty"`
}

// Renew prolongs claims while bytes move.
type Renew struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Files    []v1.RelPath    `cbor:"3,keyasint"`
	Echo     Echo            `cbor:"4,keyasint,omitzero"`
}

// RenewAnswer lists claims that are not the client's any more. Going on with them is harmless but may be in vain.
type RenewAnswer struct {
	Lost []v1.RelPath `cbor:"1,keyasint,omitempty"`
	Echo Echo         `cbor:"2,keyasint,omitzero"`
}

// The reasons of a Release.
const (
	ReasonVanished = "Vanished"
	ReasonChanged  = "Changed"
	ReasonFailed   = "Failed"
	ReasonNoRoom   = "NoRoom"
)

// Released is one claim given back.
type Released struct {
	Path    v1.RelPath    `cbor:"1,keyasint"`
	Gen     v1.Generation `cbor:"2,keyasint"`
	Reason  string        `cbor:"3,keyasint"`
	Message string        `cbor:"4,keyasint,omitempty"`
}

// Release gives claims back.
type Release struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Files    []Released      `cbor:"3,keyasint"`
}

// ReleaseAnswer is empty.
type ReleaseAnswer struct{}

// Confirm says that the location holds these versions durably. Their Gen is that of the claim, or zero when not known.
type Confirm struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Life     uint64          `cbor:"3,keyasint"`
	Turn     uint64          `cbor:"4,keyasint"`
	Files    []Record        `cbor:"5,keyasint"`
}

// Outcome is the answer for one confirmed record.
type Outcome uint8

// The outcomes.
const (
	// OutcomeUnclear: it cannot be told now; ask again later. It does not count.
	OutcomeUnclear Outcome = iota
	// OutcomeYes: it counts, durably.
	OutcomeYes
	// OutcomeNo: the bytes differ from the source's current version.
	OutcomeNo
	// OutcomeStale: the source's file has changed since.
	OutcomeStale
	// OutcomeGone: the source has no such file any more.
	OutcomeGone
)

// Confirmation is the answer for one record.
type Confirmation struct {
	Outcome Outcome `cbor:"1,keyasint"`
	// Gen is the current generation for OutcomeYes, which the holder records; zero otherwise.
	Gen v1.Generation `cbor:"2,keyasint"`
	// Mode, for OutcomeYes, is the current version's, with the bit of a regular file; zero: who acts for the source tells none. It may
	// have changed while the bytes did not.
	Mode uint32 `cbor:"3,keyasint,omitempty"`
}

// ConfirmAnswer has one answer for each record, in the same order.
type ConfirmAnswer struct {
	Answers []Confirmation `cbor:"1,keyasint"`
}

// The reasons of a Relieve and a Drop.
const (
	ReasonOverCapacity = "OverCapacity"
	ReasonDraining     = "Draining"
	ReasonStarving     = "Starving"
	// ReasonSurplus (Drop only): the host has no need of the room; only what is above maxReplicas, or misplaced, is dropped.
	ReasonSurplus = "Surplus"
)

// Relieve says that a location wants to be rid of bytes. It is to be repeated while the wish stands.
type Relieve struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Bytes    int64           `cbor:"3,keyasint"`
	Reason   string          `cbor:"4,keyasint"`
}

// RelieveAnswer says how many bytes, in how many files, are being copied elsewhere so that they can be dropped.
type RelieveAnswer struct {
	Accepted   int64         `cbor:"1,keyasint"`
	Files      int           `cbor:"2,keyasint"`
	RetryAfter time.Duration `cbor:"3,keyasint"`
	// Why says, for people, why less than was asked for is accepted; empty otherwise.
	Why string `cbor:"4,keyasint,omitempty"`
}

// Drop asks for permission to delete replicas of a location. Any Reason but Surplus says that the room is needed. MaxBytes is
// about what is wanted back, the last grant may exceed it; 0: no bound.
type Drop struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Life     uint64          `cbor:"3,keyasint"`
	Turn     uint64          `cbor:"4,keyasint"`
	MaxFiles int             `cbor:"5,keyasint"`
	MaxBytes int64           `cbor:"6,keyasint"`
	Reason   string          `cbor:"7,keyasint"`
}

// Grant is the permission to delete one replica. The replica has stopped counting already.
type Grant struct {
	ID   uint64     `cbor:"1,keyasint"`
	Path v1.RelPath `cbor:"2,keyasint"`
	// Gen is the version that the coordinator believes there, zero if not known. Something else there: do not delete, say Dropped false.
	Gen  v1.Generation `cbor:"3,keyasint"`
	Size int64         `cbor:"4,keyasint"`
	// For is how long it is valid, from before the Drop was sent.
	For time.Duration `cbor:"5,keyasint"`
}

// DropAnswer has the grants.
type DropAnswer struct {
	Grants     []Grant       `cbor:"1,keyasint,omitempty"`
	RetryAfter time.Duration `cbor:"2,keyasint"`
	// Why says, for people, what is in the way when fewer than asked for are granted; empty otherwise.
	Why string `cbor:"3,keyasint,omitempty"`
}

// GrantResult tells what became of a grant. Dropped false: still held; it may count again once confirmed.
type GrantResult struct {
	ID      uint64     `cbor:"1,keyasint"`
	Path    v1.RelPath `cbor:"2,keyasint"`
	Dropped bool       `cbor:"3,keyasint"`
}

// Dropped tells what became of grants.
type Dropped struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Life     uint64          `cbor:"3,keyasint"`
	Turn     uint64          `cbor:"4,keyasint"`
	Grants   []GrantResult   `cbor:"5,keyasint"`
}

// DroppedAnswer is empty.
type DroppedAnswer struct{}

// Retire asks which files that the location holds are deleted in the source.
type Retire struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Life     uint64          `cbor:"3,keyasint"`
	Turn     uint64          `cbor:"4,keyasint"`
	Max      int             `cbor:"5,keyasint"`
}

// Retiree is one file to be moved to versions/.
type Retiree struct {
	Path v1.RelPath `cbor:"1,keyasint"`
	// Gen is what the coordinator believes there; zero: not known.
	Gen v1.Generation `cbor:"2,keyasint"`
	// DeletedAt is in Unix nanoseconds by the source's clock.
	DeletedAt int64 `cbor:"3,keyasint"`
}

// RetireAnswer lists files to be moved to versions/.
type RetireAnswer struct {
	Files []Retiree `cbor:"1,keyasint,omitempty"`
	// More: there are more; ask again after Retired.
	More bool `cbor:"2,keyasint,omitempty"`
}

// Retired says that these were moved to versions/ (or were not there): no replicas any more.
type Retired struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Life     uint64          `cbor:"3,keyasint"`
	Turn     uint64          `cbor:"4,keyasint"`
	Files    []v1.RelPath    `cbor:"5,keyasint"`
}

// RetiredAnswer is empty.
type RetiredAnswer struct{}

// Finding is what verification found of a replica.
type Finding uint8

// The findings.
const (
	// FoundCorrupt: the bytes differ from the digest. FoundMissing: it is not there. FoundGood: read and equal.
	FoundCorrupt Finding = iota + 1
	FoundMissing
	FoundGood
)

// Reported is one replica's finding.
type Reported struct {
	Path v1.RelPath    `cbor:"1,keyasint"`
	Gen  v1.Generation `cbor:"2,keyasint"`
	Kind Finding       `cbor:"3,keyasint"`
	// At is when, Unix nanoseconds by the holder's clock.
	At int64 `cbor:"4,keyasint"`
}

// Report tells what verification found.
type Report struct {
	Source   v1.SourceName   `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
	Life     uint64          `cbor:"3,keyasint"`
	Turn     uint64          `cbor:"4,keyasint"`
	Files    []Reported      `cbor:"5,keyasint"`
}

// ReportAnswer is empty.
type ReportAnswer struct{}
