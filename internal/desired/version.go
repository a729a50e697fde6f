package desired

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"
)

// MaxAhead is by how much a version's time may be ahead of this host's clock.
const MaxAhead = time.Hour

// Version names one version of one resource. It is what metadata.resourceVersion says:
//
//	20261122T150405.123456Z/0/mini/9f86d081884c7d65/mini=2,rpi1=1
//
// the reading of a hybrid logical clock (wall clock in microseconds, then a count within one), the host that made it, a digest of the
// resource, and how many versions of it each host had made by then. The digest shows whether a file was edited since; the counts
// show whether the maker of one version knew another.
type Version struct {
	Time   time.Time // UTC, whole microseconds
	Count  uint32
	Host   v1.HostName
	Digest string
	Made   map[v1.HostName]uint32
}

const versionTime = "20060102T150405.000000Z"

// String is the version as in metadata.resourceVersion.
func (v Version) String() string {
	made := make([]string, 0, len(v.Made))
	for _, host := range slices.Sorted(maps.Keys(v.Made)) {
		made = append(made, fmt.Sprintf("%s=%d", host, v.Made[host]))
	}
	return fmt.Sprintf("%s/%d/%s/%s/%s", v.Time.UTC().Format(versionTime), v.Count, v.Host, v.Digest, strings.Join(made, ","))
}

var errVersion = errors.New("resourceVersion is malformed")

// ParseVersion reads a metadata.resourceVersion.
func ParseVersion(s string) (Version, error) {
	v, err := parseVersion(s)
	if err != nil || v.String() != s {
		return Version{}, fmt.Errorf("%w: %q", errVersion, s)
	}
	return v, nil
}

func parseVersion(s string) (Version, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || len(s) > 8<<10 {
		return Version{}, errVersion
	}
	at, err := time.Parse(versionTime, parts[0])
	if err != nil {
		return Version{}, err
	}
	count, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return Version{}, err
	}
	v := Version{Time: at, Count: uint32(count), Host: v1.HostName(parts[2]), Digest: parts[3], Made: map[v1.HostName]uint32{}}
	for one := range strings.SplitSeq(parts[4], ",") {
		host, n, _ := strings.Cut(one, "=")
		made, err := strconv.ParseUint(n, 10, 32)
		if err != nil || made == 0 || v1.ValidateName(host) != nil {
			return Version{}, errVersion
		}
		v.Made[v1.HostName(host)] = uint32(made)
	}
	if v.Made[v.Host] == 0 {
		return Version{}, errVersion
	}
	return v, nil
}

// Compare orders the versions of one resource, the same on every host: of two the greater stays.
func (v Version) Compare(o Version) int {
	return cmp.Or(v.Time.Compare(o.Time), cmp.Compare(v.Count, o.Count), cmp.Compare(v.Host, o.Host), cmp.Compare(v.Digest, o.Digest))
}

// knew tells whether whoever made v had o before.
func (v Version) knew(o Version) bool {
	for host, n := range o.Made {
		if v.Made[host] < n {
			return false
		}
	}
	return true
}

// clock is a hybrid logical clock (Kulkarni and others, "Logical Physical Clocks", 2014): what it reads is after everything that it
// has read or seen, and as near to the wall clock as that allows.
type clock struct {
	wall  func() time.Time
	last  time.Time
	count uint32
}

func (c *clock) now() time.Time { return c.wall().UTC().Truncate(time.Microsecond) }

// see makes the clock's next reading be after v.
func (c *clock) see(v Version) {
	if v.Time.After(c.last) || v.Time.Equal(c.last) && v.Count > c.count {
		c.last, c.count = v.Time, v.Count
	}
}

// next is a version of a resource that replaces earlier ones made so often.
func (c *clock) next(host v1.HostName, made map[v1.HostName]uint32) (Version, error) {
	now := c.now()
	if c.ahead(c.last) {
		return Version{}, fmt.Errorf("%w: it reads %s, but the newest change known here is of %s; set this host's clock; if that change's time is wrong, stop the daemon, delete its resourceVersion from its file, and start again",
			ErrClock, now.Format(time.RFC3339), c.last.Format(time.RFC3339))
	}
	if now.After(c.last) {
		c.last, c.count = now, 0
	} else {
		c.count++
	}
	made = maps.Clone(made)
	if made == nil {
		made = map[v1.HostName]uint32{}
	}
	made[host]++
	return Version{Time: c.last, Count: c.count, Host: host, Made: made}, nil
}

// ahead tells whether a time is so far in the future that its maker's clock must be wrong, or this host's.
func (c *clock) ahead(t time.Time) bool { return t.After(c.now().Add(MaxAhead)) }
