package model

import (
	"fmt"
	"slices"
	"strings"
)

// setup is one cluster to explore.
type setup struct {
	rules    rules
	files    int
	capacity int // files that fit on a host
	slots    int // messages of one host under way at once
	left     budget
	limit    int // states; exceeding it is an error, not an end

	settled map[key]int // states known to settle, with the copies that takes
}

// found is what an exploration saw.
type found struct {
	states int
	steps  int
	// trace tells how the first bad state came about; empty: there is none.
	trace []string
	err   error
}

func (f *found) String() string {
	if len(f.trace) == 0 {
		return fmt.Sprintf("%d states, %d steps", f.states, f.steps)
	}
	return fmt.Sprintf("%d states, %d steps, then:\n  %s", f.states, f.steps, strings.Join(f.trace, "\n  "))
}

// begin is a cluster where nothing is held yet.
func (u *setup) begin() *state {
	return &state{left: u.left}
}

// explore visits every state that can come about, breadth first, until check objects to one.
func (u *setup) explore(starts []*state, check func(*state) error) *found {
	from := make(map[key]int32) // state → number of the one it came from
	var queue []key
	result := &found{}
	u.settled = make(map[key]int)
	add := func(s *state, parent int32) {
		k := s.pack(u.files)
		if _, known := from[k]; known {
			return
		}
		from[k] = parent
		queue = append(queue, k)
	}
	for _, s := range starts {
		add(s, -1)
	}
	at := 0
	e := u.explorer(func(t *state, _ func() string) { result.steps++; add(t, int32(at)) })
	for ; at < len(queue); at++ {
		s := queue[at].unpack()
		if err := check(&s); err != nil {
			result.err = err
			result.trace = append(u.retrace(queue, from, int32(at)), err.Error())
			break
		}
		if len(queue) > u.limit {
			result.err = fmt.Errorf("more than %d states", u.limit)
			result.trace = []string{result.err.Error()}
			break
		}
		e.expand(&s)
	}
	result.states = len(queue)
	return result
}

// retrace finds the steps that lead to a state.
func (u *setup) retrace(queue []key, from map[key]int32, at int32) (trace []string) {
	var path []key
	for ; at >= 0; at = from[queue[at]] {
		path = append(path, queue[at])
	}
	slices.Reverse(path)
	s := path[0].unpack()
	for _, goal := range path[1:] {
		next, label := s, ""
		e := u.explorer(func(t *state, say func() string) {
			if label == "" && t.pack(u.files) == goal {
				next, label = *t, say()
			}
		})
		e.expand(&s)
		s = next
		trace = append(trace, fmt.Sprintf("%-50s → %s", label, s.describe(u.files)))
	}
	return trace
}

func (u *setup) explorer(visit func(*state, func() string)) *explorer {
	return &explorer{rules: u.rules, files: u.files, capacity: u.capacity, slots: u.slots, visit: visit}
}

// describe shows for every host what it holds (file numbers; in brackets: about to be dropped) and what is believed of it.
func (s *state) describe(files int) string {
	var b strings.Builder
	for i := range s.h {
		h := &s.h[i]
		fmt.Fprintf(&b, "%s holds ", names[i])
		for f := range files {
			switch {
			case h.disk[f] == current && h.doomed(f):
				fmt.Fprintf(&b, "[%d]", f)
			case h.disk[f] == current:
				fmt.Fprint(&b, f)
			}
		}
		b.WriteString(" counted ")
		for f := range files {
			if h.catalog[f] == confirmed {
				fmt.Fprint(&b, f)
			}
		}
		b.WriteString("; ")
	}
	return b.String()
}

// checkDrops is S1.
func checkDrops(s *state) error {
	if f := s.broken(); f >= 0 {
		return fmt.Errorf("S1 broken: file %d may be dropped, and fewer than %d others hold it", f, desired)
	}
	return nil
}
