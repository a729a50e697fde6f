package daemon

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/version"
)

// conditions remembers since when each condition of this host's objects is as it is.
type conditions struct {
	mu   sync.Mutex
	kept map[string][]metav1.Condition // by v1.Ref
}

// set replaces an object's conditions and returns them with their times of transition.
func (c *conditions) set(ref string, generation int64, now []metav1.Condition) []metav1.Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[string][]metav1.Condition{}
	}
	kept := c.kept[ref]
	for _, condition := range now {
		condition.ObservedGeneration = generation
		meta.SetStatusCondition(&kept, condition)
	}
	c.kept[ref] = kept
	return append([]metav1.Condition(nil), kept...)
}

func condition(kind string, status bool, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if status {
		c.Status = metav1.ConditionTrue
	}
	return c
}

func unknown(kind, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

// sourceStatus is a source of this host: its state, and its coordinator's counts where there is one.
func (c *conditions) sourceStatus(want *v1.Source, state controllers.SourceState, counts *coordinator.Status, counted *coordinator.Verification) v1.SourceStatus {
	s := v1.SourceStatus{ObservedGeneration: state.Generation}
	now := []metav1.Condition{available(state), scanned(state)}
	if !state.Scan.Ended.IsZero() {
		s.LastScan = &metav1.Time{Time: state.Scan.Ended.UTC().Truncate(time.Second)}
		s.ScanDuration = &metav1.Duration{Duration: state.Scan.Took}
	}
	s.Problems, s.ProblemCount = state.Scan.Problems, state.Scan.ProblemCount
	if counts != nil {
		s.Files, s.Bytes = counts.Files, counts.Bytes
		s.Replicas = counts.ReplicaFiles[:]
		s.Underserved, s.Overserved = counts.Underserved, counts.Overserved
		s.HeldDeletions = counts.HeldDeletions
		s.Problems = append(append([]v1.Problem(nil), s.Problems...), counts.Problems...)
		s.ProblemCount += counts.ProblemCount
		now = append(now, protected(want, state, counts), verified(want, state, counts, counted), deletionsHeld(want, counts), placeable(counts))
	}
	s.Conditions = c.set(v1.RefOf(want), state.Generation, now)
	return s
}

func available(state controllers.SourceState) metav1.Condition {
	if state.Err != nil {
		return condition(v1.ConditionAvailable, false, controllers.ReasonOfSource(state.Err), state.Err.Error())
	}
	return condition(v1.ConditionAvailable, true, "Open", "the tree is there")
}

func scanned(state controllers.SourceState) metav1.Condition {
	switch {
	case state.Scan.Ended.IsZero():
		return condition(v1.ConditionScanned, false, "NotYet", "no scan has ended since the daemon started")
	case !state.Scan.Clean:
		return condition(v1.ConditionScanned, false, "Incomplete", fmt.Sprintf("%d files or folders could not be read; see status.problems", state.Scan.Unreadable))
	}
	return condition(v1.ConditionScanned, true, "Complete", "the whole tree was read at "+state.Scan.Ended.UTC().Format(time.RFC3339))
}

func protected(want *v1.Source, state controllers.SourceState, counts *coordinator.Status) metav1.Condition {
	switch {
	case state.Scan.Ended.IsZero():
		return unknown(v1.ConditionProtected, "NotScanned", "no scan has ended since the daemon started")
	case counts.Underserved > 0:
		message := fmt.Sprintf("%d of %d files have fewer than %d replicas", counts.Underserved, counts.Files, want.Spec.MinReplicas)
		if counts.OutsideWindows {
			message += fmt.Sprintf("; copies wait for limits.windows of host %s", want.Spec.Host)
		}
		return condition(v1.ConditionProtected, false, "Underserved", message)
	}
	if counts.Files > 0 && counts.Listings < int(want.Spec.MinReplicas) {
		return condition(v1.ConditionProtected, false, "ListingMissing", fmt.Sprintf("every file has %d replicas or more, but the listing of folders, links and attributes lies at %d hosts only", want.Spec.MinReplicas, counts.Listings))
	}
	return condition(v1.ConditionProtected, true, "EnoughReplicas", fmt.Sprintf("%d files have %d replicas or more", counts.Files, want.Spec.MinReplicas))
}

// verified says whether all replicas were read again within the source's interval; counted is nil where that could not be counted.
func verified(want *v1.Source, state controllers.SourceState, counts *coordinator.Status, counted *coordinator.Verification) metav1.Condition {
	corrupt := 0
	for _, p := range counts.Problems {
		if p.Reason == "Corrupt" {
			corrupt++
		}
	}
	interval := want.Spec.Verify.Interval.Duration
	switch {
	case corrupt > 0:
		return condition(v1.ConditionVerified, false, "Corrupt", fmt.Sprintf("%d replicas are corrupt and not replaced yet", corrupt))
	case state.Scan.Ended.IsZero():
		return unknown(v1.ConditionVerified, "NotScanned", "no scan has ended since the daemon started")
	case counted == nil:
		return unknown(v1.ConditionVerified, "NotCounted", "the catalog could not be read")
	case interval == 0:
		return unknown(v1.ConditionVerified, "NoInterval", "verify.interval is 0: replicas are read again by `cbctl verify` alone; none is known to be corrupt")
	case counted.Overdue > 0:
		return condition(v1.ConditionVerified, false, "Overdue",
			fmt.Sprintf("%d of %d replicas were not read within %s", counted.Overdue, counted.Replicas, shortest(interval)))
	case counted.Unknown > 0:
		return unknown(v1.ConditionVerified, "NotReported",
			fmt.Sprintf("of %d of %d replicas it is not known yet when they were read", counted.Unknown, counted.Replicas))
	}
	return condition(v1.ConditionVerified, true, "WithinInterval",
		fmt.Sprintf("all %d replicas were read within %s, and none is corrupt", counted.Replicas, shortest(interval)))
}

// shortest is a duration without its zeros: 720h, not 720h0m0s.
func shortest(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func deletionsHeld(want *v1.Source, counts *coordinator.Status) metav1.Condition {
	if counts.HeldWhy != "" {
		return condition(v1.ConditionDeletionsHeld, true, counts.HeldWhy, controllers.HeldText(v1.SourceName(want.Name), counts.HeldWhy, counts.HeldDeletions))
	}
	return condition(v1.ConditionDeletionsHeld, false, "None", "no deletion is held")
}

func placeable(counts *coordinator.Status) metav1.Condition {
	if !counts.Placeable && len(counts.Unheard) > 0 {
		return unknown(v1.ConditionPlaceable, "HostsSilent", fmt.Sprintf("not heard of since the daemon started: %v", counts.Unheard))
	}
	if !counts.Placeable {
		return condition(v1.ConditionPlaceable, false, "NoRoom", counts.PlaceableMessage)
	}
	return condition(v1.ConditionPlaceable, true, "Fits", "the desired replicas fit")
}

// absentStatus is of a source or location whose host cannot be asked.
func absentConditions(kinds []string, host v1.HostName) []metav1.Condition {
	all := make([]metav1.Condition, len(kinds))
	for i, kind := range kinds {
		all[i] = unknown(kind, "HostUnreachable", fmt.Sprintf("host %s does not answer", host))
		all[i].LastTransitionTime = metav1.Now()
	}
	return all
}

var (
	sourceConditions   = []string{v1.ConditionAvailable, v1.ConditionScanned, v1.ConditionProtected, v1.ConditionVerified, v1.ConditionDeletionsHeld, v1.ConditionPlaceable}
	locationConditions = []string{v1.ConditionAvailable, v1.ConditionWithinCapacity, v1.ConditionDrained}
)

// locationStatus is a location of this host.
func (c *conditions) locationStatus(want *v1.Location, state controllers.LocationState) v1.LocationStatus {
	space := state.Space
	s := v1.LocationStatus{
		ObservedGeneration: state.Generation, UID: state.UID, Capacity: max(0, space.Capacity), Used: space.Used, Reserved: space.Reserved,
		Free: space.Free, Replicas: space.Replicas, Versions: space.Versions, Waiting: state.Waiting,
	}
	now := []metav1.Condition{condition(v1.ConditionAvailable, true, "Open", "the location is there")}
	if state.Err != nil {
		now[0] = condition(v1.ConditionAvailable, false, controllers.ReasonOfLocation(state.Err), state.Err.Error())
	}
	now = append(now, withinCapacity(state), drained(want, state))
	s.Conditions = c.set(v1.RefOf(want), state.Generation, now)
	return s
}

func withinCapacity(state controllers.LocationState) metav1.Condition {
	over := state.Space.Used + state.Space.Reserved - state.Space.Capacity
	switch {
	case state.Err != nil:
		return unknown(v1.ConditionWithinCapacity, "NotAvailable", "the location is not there")
	case over > 0:
		return condition(v1.ConditionWithinCapacity, false, "OverCapacity", aside(fmt.Sprintf("%d bytes more than capacity and reserve allow", over), state.Waiting))
	}
	return condition(v1.ConditionWithinCapacity, true, "Within", fmt.Sprintf("%d bytes are free", state.Space.Free))
}

// aside adds a remark, if there is one.
func aside(text, remark string) string {
	if remark == "" {
		return text
	}
	return text + "; " + remark
}

func drained(want *v1.Location, state controllers.LocationState) metav1.Condition {
	switch {
	case !state.Draining:
		return condition(v1.ConditionDrained, false, "NotDraining", "the location is in use")
	case state.Err != nil:
		return unknown(v1.ConditionDrained, "NotAvailable", "the location is not there")
	case state.Space.Replicas > 0:
		return condition(v1.ConditionDrained, false, "Draining", aside(fmt.Sprintf("%d replicas are still here", state.Space.Replicas), state.Waiting))
	}
	return condition(v1.ConditionDrained, true, "Empty", fmt.Sprintf("no replica is here any more; `cbctl delete location %s` is safe", want.Name))
}

// clusterStatus is the cluster as this host sees it.
func (c *conditions) clusterStatus(want *v1.Cluster, uid string, hosts []*v1.Host, p *peers, timeout time.Duration) v1.ClusterStatus {
	s := v1.ClusterStatus{ObservedGeneration: want.Generation, UID: uid}
	var silent []string
	for _, h := range hosts {
		s.Hosts++
		if p.live(v1.HostName(h.Name), timeout) {
			s.ReadyHosts++
		} else {
			silent = append(silent, h.Name)
		}
	}
	ready := condition(v1.ConditionReady, true, "AllReady", "every host answers")
	if len(silent) > 0 {
		ready = condition(v1.ConditionReady, false, "HostsSilent", "not heard of: "+strings.Join(silent, ", "))
	}
	s.Conditions = c.set(v1.RefOf(want), want.Generation, []metav1.Condition{ready})
	return s
}

// hostStatus is what this host knows of a host.
func (c *conditions) hostStatus(want *v1.Host, p *peers, timeout time.Duration) v1.HostStatus {
	s := v1.HostStatus{ObservedGeneration: want.Generation}
	seen := p.lastSeen(v1.HostName(want.Name))
	ready := condition(v1.ConditionReady, false, "NeverHeard", "not heard of since the daemon started")
	if !seen.IsZero() {
		s.LastSeen = &metav1.Time{Time: seen.UTC().Truncate(time.Second)}
		ago := time.Since(seen).Round(time.Second)
		ready = condition(v1.ConditionReady, true, "Heard", "the host answers")
		if ago > timeout {
			ready = condition(v1.ConditionReady, false, "Silent", fmt.Sprintf("not heard of for longer than hostTimeout (%s)", timeout))
		}
	}
	s.Version = p.versionOf(v1.HostName(want.Name))
	if want.Name == string(p.identity.Host()) {
		s.Version = version.Get().Version
	}
	s.Conditions = c.set(v1.RefOf(want), want.Generation, []metav1.Condition{ready})
	return s
}
