package tree

import (
	"testing"
	"testing/synctest"
	"time"

	v1 "clusterbackup/api/v1"
)

// What nobody asked for is forgotten in time, and nothing goes on ticking then.
func TestNotedDigestsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noted
		version := Entry{Kind: KindFile, Size: 1}
		n.put("f", &version, v1.Digest{1})
		time.Sleep(notedLife + time.Second)
		if d, ok := n.of("f", &version); !ok || d != (v1.Digest{1}) {
			t.Errorf("after %v: %v, %v", notedLife, d, ok)
		}
		n.put("g", &version, v1.Digest{2})
		time.Sleep(notedLife)
		if _, ok := n.of("f", &version); ok {
			t.Error("it is there for ever")
		}
		if _, ok := n.of("g", &version); !ok {
			t.Error("what was noted later is gone")
		}
		time.Sleep(2 * notedLife)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.aging != nil || n.now != nil || n.older != nil {
			t.Errorf("left: %+v, %+v, %v", n.now, n.older, n.aging)
		}
	})
}
