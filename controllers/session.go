package controllers

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
)

// Client names one conversation: this host as a client of the coordinator of one source.
type Client struct {
	Source      v1.SourceName
	Coordinator v1.HostName
	// Acting: that host isn't the source's, it acts for it. See copiesOnly for what it may have this one do.
	Acting bool
}

// String is for logs.
func (c Client) String() string {
	name := string(c.Source) + "@" + string(c.Coordinator)
	if c.Acting {
		name += " (acting)"
	}
	return name
}

// Coordinator is the other end: it answers, and never asks.
type Coordinator interface {
	Hello(context.Context, *coordinator.Hello) (*coordinator.HelloAnswer, error)
	Inventory(context.Context, *coordinator.Inventory) (*coordinator.InventoryAnswer, error)
	Copies
	Drops
}

// Copies are the questions around a copy.
type Copies interface {
	Claim(context.Context, *coordinator.Claim) (*coordinator.ClaimAnswer, error)
	Renew(context.Context, *coordinator.Renew) (*coordinator.RenewAnswer, error)
	Release(context.Context, *coordinator.Release) (*coordinator.ReleaseAnswer, error)
	Confirm(context.Context, *coordinator.Confirm) (*coordinator.ConfirmAnswer, error)
	Report(context.Context, *coordinator.Report) (*coordinator.ReportAnswer, error)
}

// Drops are the questions around what is to go.
type Drops interface {
	Relieve(context.Context, *coordinator.Relieve) (*coordinator.RelieveAnswer, error)
	Drop(context.Context, *coordinator.Drop) (*coordinator.DropAnswer, error)
	Dropped(context.Context, *coordinator.Dropped) (*coordinator.DroppedAnswer, error)
	Retire(context.Context, *coordinator.Retire) (*coordinator.RetireAnswer, error)
	Retired(context.Context, *coordinator.Retired) (*coordinator.RetiredAnswer, error)
}

// Sessions keeps one Session for each Client, shared by the copy, drop and verify loops.
type Sessions struct {
	// Dial returns the coordinator of a source on a host. It doesn't block: an unreachable host shows when it is asked.
	Dial func(Client) Coordinator
	// ID is drawn when the daemon starts.
	ID  uint64
	Env Env

	mu       sync.Mutex
	sessions map[Client]*Session
}

// Get returns the session of c, the same one each time.
func (s *Sessions) Get(c Client) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil {
		s.sessions = map[Client]*Session{}
	}
	if s.sessions[c] == nil {
		peer := s.Dial(c)
		if c.Acting {
			peer = copiesOnly{peer}
		}
		s.sessions[c] = &Session{client: c, id: s.ID, peer: peer, env: s.Env, mu: s.Env.lock()}
	}
	return s.sessions[c]
}

// Forget ends the session of c; the next Get begins another.
func (s *Sessions) Forget(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
}

// outdate has the source's own coordinator, or those that act for it, told anew what is held: there is something that they don't know
// of and would not ask for.
func (s *Sessions) outdate(source v1.SourceName, acting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, session := range s.sessions {
		if c.Source == source && c.Acting == acting {
			session.outdated.Store(true)
		}
	}
}

// Session is a conversation in order. The coordinator tells old messages from new ones by Life and Turn, and relies on this
// client never confirming anything while it may be deleting: one lock is held around each exchange, and around a drop or a
// retirement as a whole, from the question until what was granted is done.
type Session struct {
	client Client
	id     uint64
	peer   Coordinator
	env    Env

	mu      sync.Locker
	life    uint64
	turn    uint64
	latest  coordinator.HelloAnswer
	greeted time.Time // the first Hello that was answered
	echo    atomic.Pointer[coordinator.Echo]
	// outdated: it is to begin anew, see refresh. It can be set while an exchange is under way.
	outdated atomic.Bool
}

// pollAfter is when to ask again when there is nothing to do. A source that is still being scanned for the first time will have
// something soon: it is asked early, then ever less often.
func (s *Session) pollAfter(answer *coordinator.HelloAnswer) time.Duration {
	if answer.Manifest != "" {
		return answer.PollAfter
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(answer.PollAfter, max(100*time.Millisecond, s.env.since(s.greeted)/4))
}

// Latest is the answer to the latest Hello.
func (s *Session) Latest() coordinator.HelloAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

func (s *Session) hello(ctx context.Context, hello *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hello.Source, hello.Session, hello.Echo = s.client.Source, s.id, s.heard()
	answer, err := s.peer.Hello(ctx, hello)
	if err != nil {
		return nil, err
	}
	if s.greeted.IsZero() {
		s.greeted = s.env.now()
	}
	s.echo.Store(&answer.Echo)
	s.life, s.turn, s.latest = answer.Life, max(s.turn, answer.Turn), *answer
	return answer, nil
}

// heard is what the latest answer that had one said to repeat.
func (s *Session) heard() coordinator.Echo {
	if e := s.echo.Load(); e != nil {
		return *e
	}
	return coordinator.Echo{}
}

// renew keeps claims alive. It is no turn, and may go beside any other exchange.
func (s *Session) renew(ctx context.Context, l *OpenLocation, files []v1.RelPath) {
	answer, err := s.peer.Renew(ctx, &coordinator.Renew{Source: s.client.Source, Location: l.Name, Files: files, Echo: s.heard()})
	if err == nil {
		s.echo.Store(&answer.Echo)
	}
}

// next begins an exchange that counts as a turn. The caller holds s.mu.
func (s *Session) next() (life, turn uint64) {
	s.turn++
	return s.life, s.turn
}

// inventory sends a page. Records that are no longer held by the time the lock is taken are left out.
func (s *Session) inventory(ctx context.Context, l *OpenLocation, page *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, folder := range page.Folders {
		if folder.Records == nil {
			continue
		}
		held, _, err := s.stillHeld(l, folder.Records)
		if err != nil {
			return nil, err
		}
		page.Folders[i].Records, page.Folders[i].Digest = held, coordinator.FolderDigest(held)
	}
	page.Source, page.Session, page.Location = s.client.Source, s.id, l.Name
	page.Life, page.Turn = s.next()
	return s.peer.Inventory(ctx, page)
}

// confirm asks about records and answers for each. What was dropped or replaced since the records were read is not asked about:
// a confirmation that goes out after a drop would count a replica that is gone. Its answer is OutcomeUnclear.
func (s *Session) confirm(ctx context.Context, l *OpenLocation, records []coordinator.Record) ([]coordinator.Confirmation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, index, err := s.stillHeld(l, records)
	answers := make([]coordinator.Confirmation, len(records))
	if err != nil || len(held) == 0 {
		return answers, err
	}
	request := &coordinator.Confirm{Source: s.client.Source, Location: l.Name, Files: held}
	request.Life, request.Turn = s.next()
	answer, err := s.peer.Confirm(ctx, request)
	if err != nil {
		return nil, err
	}
	if len(answer.Answers) != len(held) {
		return answers, nil // a malformed answer makes nothing certain
	}
	for i, a := range answer.Answers {
		answers[index[i]] = a
	}
	return answers, nil
}

// stillHeld returns those records that the location holds exactly so now, and their places in records. The caller holds s.mu, so
// that they stay held until it has asked.
func (s *Session) stillHeld(l *OpenLocation, records []coordinator.Record) (held []coordinator.Record, index []int, err error) {
	paths := make([]v1.RelPath, len(records))
	for i, r := range records {
		paths[i] = r.Path
	}
	now, ok, err := l.GetAll(s.client.Source, paths)
	if err != nil {
		return nil, nil, err
	}
	held = make([]coordinator.Record, 0, len(records))
	for i, r := range records {
		if ok[i] && !now[i].Bad && sameReplica(recordOf(now[i]), r) {
			held, index = append(held, r), append(index, i)
		}
	}
	return held, index, nil
}

// sameReplica tells whether two records are of one replica, which may have been read again in between.
func sameReplica(a, b coordinator.Record) bool {
	a.Verified = b.Verified
	return a == b
}

// restart begins the conversation anew, as if the daemon had been started: the next Hello has the coordinator ask for the whole
// inventory. It is what to do when something could not be told.
func (s *Session) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = s.env.random()
}

// refresh begins the conversation anew if it is outdated. What the next Hello says is to be gathered after that: if more comes in the
// meantime, it is outdated again.
func (s *Session) refresh() {
	if s.outdated.Swap(false) {
		s.restart()
	}
}

func (s *Session) report(ctx context.Context, location v1.LocationName, files []coordinator.Reported) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := &coordinator.Report{Source: s.client.Source, Location: location, Files: files}
	request.Life, request.Turn = s.next()
	_, err := s.peer.Report(ctx, request)
	return err
}

// retire moves replicas to versions/ that the source has not, or not so, and tells the coordinator. What a copy has replaced since
// its record was read is another replica, and stays.
func (s *Session) retire(ctx context.Context, l *OpenLocation, records []location.Record, keep time.Duration) error {
	if len(records) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	meant := make(map[v1.RelPath]location.Record, len(records))
	paths := make([]v1.RelPath, len(records))
	for i, r := range records {
		meant[r.Path], paths[i] = r, r.Path
	}
	return s.retireLocked(ctx, l, paths, keep, func(now location.Record) bool {
		r := meant[now.Path]
		return now.Gen == r.Gen && now.Digest == r.Digest && now.Bad == r.Bad
	})
}

// retireLocked moves what is still meant to versions/ and tells the coordinator. The caller holds s.mu.
func (s *Session) retireLocked(ctx context.Context, l *OpenLocation, paths []v1.RelPath, keep time.Duration, still func(location.Record) bool) error {
	errs, err := l.Retire(ctx, s.client.Source, paths, keep, still)
	var retired []v1.RelPath
	for i, e := range errs {
		switch {
		case errors.Is(e, location.ErrReplaced):
		case e != nil:
			err = errors.Join(err, e)
		default:
			retired = append(retired, paths[i])
		}
	}
	if err != nil || len(retired) == 0 {
		return err
	}
	request := &coordinator.Retired{Source: s.client.Source, Location: l.Name, Files: retired}
	request.Life, request.Turn = s.next()
	_, err = s.peer.Retired(ctx, request)
	return err
}
