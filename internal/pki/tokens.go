package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
)

// Bounds of tokens.
const (
	// DefaultTokenLife is how long a token is valid when nothing else is asked for, MaxTokenLife the longest that can be.
	DefaultTokenLife = time.Hour
	MaxTokenLife     = 30 * 24 * time.Hour
	// keepSpent is how long a used or expired token is remembered, to say so rather than "not known".
	keepSpent = 30 * 24 * time.Hour
)

// Tokens are the join tokens that one host made, as files. Only that host can redeem them. Safe for concurrent use.
type Tokens struct {
	dir  string
	ca   [sha256.Size]byte
	opts Options

	mu sync.Mutex // one redemption at a time
}

// tokenRecord is STATE/tokens/ID.json.
type tokenRecord struct {
	Format  int       `json:"format"`
	Hash    string    `json:"sha256"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    *tokenUse `json:"used,omitempty"`
}

type tokenUse struct {
	Host   v1.HostName `json:"host"`
	Member string      `json:"member"`
	Time   time.Time   `json:"time"`
}

func newTokens(dir string, ca [sha256.Size]byte, opts Options) *Tokens {
	return &Tokens{dir: dir, ca: ca, opts: opts}
}

// Create makes a token that admits one host within ttl (0: DefaultTokenLife). The string is not kept: who loses it makes another.
func (s *Tokens) Create(ttl time.Duration) (secret string, expires time.Time, err error) {
	if ttl == 0 {
		ttl = DefaultTokenLife
	}
	if ttl < 0 || ttl > MaxTokenLife {
		return "", time.Time{}, fmt.Errorf("create token: a life of %s is not between 0 and %s", ttl, MaxTokenLife)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", time.Time{}, fmt.Errorf("create token: %w", err)
	}
	s.prune()
	t := token{ca: s.ca}
	rand.Read(t.id[:])
	rand.Read(t.secret[:])
	now := s.opts.now().UTC()
	r := tokenRecord{Format: stateFormat, Hash: t.hash(), Created: now, Expires: now.Add(ttl)}
	if err := s.write(t.name(), r); err != nil {
		return "", time.Time{}, fmt.Errorf("create token: %w", err)
	}
	return t.String(), r.Expires, nil
}

// redeem lets admit run for a member that shows a valid token: ErrToken, ErrTokenExpired, ErrTokenUsed, ErrCorrupt, or admit's error, which
// leaves the token unused. The token is spent durably before admit runs, so that no crash lets two hosts in. The member that spent it
// may come again under the same name: it never got its answer.
func (s *Tokens) redeem(t token, m Member, admit func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.valid(t)
	if err != nil {
		return err
	}
	if r.Used != nil {
		if r.Used.Host != m.Name || r.Used.Member != m.ID {
			return fmt.Errorf("%w: by host %s at %s", ErrTokenUsed, r.Used.Host, r.Used.Time.Format(time.RFC3339))
		}
		return admit()
	}
	unused := r
	r.Used = &tokenUse{Host: m.Name, Member: m.ID, Time: s.opts.now().UTC()}
	if err := s.write(t.name(), r); err != nil {
		return err
	}
	if err := admit(); err != nil {
		return errors.Join(err, s.write(t.name(), unused))
	}
	return nil
}

// valid finds a token's record and compares the secret and the time: ErrToken, ErrTokenExpired, ErrCorrupt.
func (s *Tokens) valid(t token) (tokenRecord, error) {
	r, err := s.read(t.name())
	if err != nil {
		return tokenRecord{}, err
	}
	if subtle.ConstantTimeCompare([]byte(r.Hash), []byte(t.hash())) != 1 {
		return tokenRecord{}, ErrToken
	}
	if !s.opts.now().Before(r.Expires) {
		return tokenRecord{}, fmt.Errorf("%w at %s", ErrTokenExpired, r.Expires.UTC().Format(time.RFC3339))
	}
	return r, nil
}

func (s *Tokens) path(name string) string { return filepath.Join(s.dir, name+".json") }

func (s *Tokens) read(name string) (tokenRecord, error) {
	path := s.path(name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return tokenRecord{}, fmt.Errorf("%w: this host made no such token; a token is good at the host that made it alone", ErrToken)
	}
	if err != nil {
		return tokenRecord{}, fmt.Errorf("read token: %w", err)
	}
	var r tokenRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return tokenRecord{}, fmt.Errorf("read token %s: %w: %w", path, ErrCorrupt, err)
	}
	if r.Format != stateFormat || len(r.Hash) != 2*sha256.Size || r.Expires.IsZero() {
		return tokenRecord{}, fmt.Errorf("read token %s: %w: format, sha256 or expires is missing or impossible", path, ErrCorrupt)
	}
	return r, nil
}

func (s *Tokens) write(name string, r tokenRecord) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path(name), append(data, '\n'), 0o600)
}

// prune forgets tokens that ended long ago. What it cannot read it leaves.
func (s *Tokens) prune() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		if r, err := s.read(name); err == nil && s.opts.now().After(r.Expires.Add(keepSpent)) {
			_ = os.Remove(s.path(name))
		}
	}
}
