package location

import (
	"fmt"
	"math"
	"sync"

	"clusterbackup/internal/beneath"
)

const mebibyte = 1 << 20

// Space is how a location stands, in bytes unless said otherwise.
type Space struct {
	// Capacity is how many bytes may lie here now, by capacity and reserve together.
	Capacity int64
	// Used is what does: replicas, versions and unfinished copies that nobody works on. Sums and manifests count in whole MiB, rounded down.
	Used int64
	// Reserved is what copies under way will take.
	Reserved int64
	// Free is what can still be reserved, for which unfinished copies that nobody works on make way; never negative.
	Free int64
	// Replicas and Versions count files.
	Replicas, Versions int64
}

// Disks keeps count of what the locations of one process have reserved on each file system, so that two locations on one disk leave
// its reserve alone together. The zero value is ready.
type Disks struct {
	mu       sync.Mutex
	reserved map[uint64]int64
}

// space is the one place that says whether there is room. Its lock is disks.mu.
type space struct {
	top      beneath.Folder
	device   uint64
	disks    *Disks
	capacity int64 // 0: no limit
	reserve  int64
	held     totals
	idle     int64 // unfinished copies kept to be resumed, nobody at work on them
	kept     int64 // sums and manifests
	reserved int64
	onDisk   int64 // reserved, with what blocks and folder entries add
}

// Reservation is room that is kept for a copy. It is given up by Release, or by the Batch that it was handed to.
type Reservation struct {
	space  *space
	bytes  int64
	onDisk int64
}

// Bytes is what is left of the reservation.
func (r *Reservation) Bytes() int64 {
	r.space.disks.mu.Lock()
	defer r.space.disks.mu.Unlock()
	return r.bytes
}

// Release gives up what is left. It may be called twice.
func (r *Reservation) Release() {
	r.space.disks.mu.Lock()
	defer r.space.disks.mu.Unlock()
	r.space.release(r, r.bytes)
}

// Reserve keeps room for that many bytes in that many files, or says ErrFull. Unfinished copies that wait to be resumed make way.
func (l *Location) Reserve(bytes int64, files int) (*Reservation, error) {
	if l.rebuilding.Load() {
		return nil, ErrRebuilding
	}
	leave, err := l.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if bytes < 0 || files < 0 {
		return nil, fmt.Errorf("reserve %d bytes in %d files: less than nothing", bytes, files)
	}
	res := &Reservation{space: l.space}
	err = l.space.grow(res, bytes, files)
	if err != nil && l.dropIdle() {
		err = l.space.grow(res, bytes, files)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// SetLimits changes capacity (0: none) and reserve. What is held already stays, be it too much; unfinished copies that wait to be resumed
// don't then.
func (l *Location) SetLimits(capacity, reserve int64) {
	if l.space.limit(capacity, reserve) < 0 {
		l.dropIdle()
	}
}

// Space tells how the location stands; all zero when it is closed.
func (l *Location) Space() Space {
	leave, err := l.enter()
	if err != nil {
		return Space{}
	}
	defer leave()
	s := l.space
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	used, room := s.used(), s.room()
	return Space{
		Capacity: used + s.reserved + room, Used: used, Reserved: s.reserved, Free: max(0, room+s.idle),
		Replicas: s.held.replicas, Versions: s.held.versions,
	}
}

func (s *space) used() int64 { return s.held.bytes() + s.idle + s.kept/mebibyte*mebibyte }

// limit changes the limits and returns the room that they leave.
func (s *space) limit(capacity, reserve int64) (room int64) {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	s.capacity, s.reserve = capacity, reserve
	return s.room()
}

// room is what capacity and reserve leave; negative when there is too much already.
func (s *space) room() int64 {
	free, _, err := freeBytes(s.top)
	if err != nil {
		return min(s.roomByCapacity(), 0)
	}
	return min(s.roomByCapacity(), s.roomOnDisk(free))
}

func (s *space) roomByCapacity() int64 {
	if s.capacity <= 0 {
		return math.MaxInt64 / 2
	}
	return s.capacity - s.used() - s.reserved
}

func (s *space) roomOnDisk(free int64) int64 { return free - s.reserve - s.disks.reserved[s.device] }

// leaves tells whether the file system will have its reserve free when so many bytes more are written.
func (s *space) leaves(bytes int64) bool {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	free, _, err := freeBytes(s.top)
	return err != nil || free-bytes >= s.reserve
}

// grow adds to a reservation, or says ErrFull and adds nothing.
func (s *space) grow(r *Reservation, bytes int64, files int) error {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	free, block, err := freeBytes(s.top)
	if err != nil {
		return fmt.Errorf("read free space: %w", err)
	}
	// Each file rounds up to a block, and needs an entry and an inode.
	onDisk := bytes + int64(files)*(block+512)
	if bytes > s.roomByCapacity() || onDisk > s.roomOnDisk(free) {
		return fmt.Errorf("reserve %d bytes in %d files, %d bytes are free: %w", bytes, files, max(0, s.room()), ErrFull)
	}
	r.bytes += bytes
	r.onDisk += onDisk
	s.hold(bytes, onDisk)
	return nil
}

func (s *space) hold(bytes, onDisk int64) {
	if s.disks.reserved == nil {
		s.disks.reserved = map[uint64]int64{}
	}
	s.reserved += bytes
	s.onDisk += onDisk
	s.disks.reserved[s.device] += onDisk
}

// release gives back bytes of a reservation, and with the last of them what blocks added.
func (s *space) release(r *Reservation, bytes int64) {
	onDisk := bytes
	if bytes >= r.bytes {
		bytes, onDisk = r.bytes, r.onDisk
	}
	r.bytes -= bytes
	r.onDisk -= onDisk
	s.hold(-bytes, -onDisk)
}

// changed counts what a change of the index brought.
func (s *space) changed(delta totals) {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	s.held.add(delta)
}

// settleReserved turns reserved bytes into held ones, in one step.
func (s *space) settleReserved(r *Reservation, bytes int64, delta totals) {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	s.held.add(delta)
	s.release(r, bytes)
}

// addIdle counts unfinished copies that are left (or, negative, taken up again), and gives up a reservation in the same step.
func (s *space) addIdle(bytes int64, r *Reservation) {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	s.idle = max(0, s.idle+bytes)
	if r != nil {
		s.release(r, r.bytes)
	}
}

// keep counts bytes of sums and manifests; more of them only if there is room.
func (s *space) keep(bytes int64) error {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	before := s.used()
	s.kept += bytes
	if s.used() > before && s.room() < 0 {
		s.kept -= bytes
		return ErrFull
	}
	return nil
}

// start counts what lies there when the location is opened.
func (s *space) start(held totals, kept int64) {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	s.held, s.kept = held, kept
}
