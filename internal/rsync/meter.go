package rsync

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// The bytes of a pull go through "cbd rsh", a process of its own, so it tells Run of them while they move: by one pipe it says how many
// have come, by another it hears when it may go on. rsync inherits both and passes them on.
const (
	meterVariable  = "CLUSTERBACKUP_RSH_METER"
	meterAskFD     = verdictFD + 1
	meterAnswerFD  = verdictFD + 2
	meterStep      = 128 << 10 // bytes between two questions
	meterQuestions = 4         // bytes of one question: how many, big-endian
)

// metering is Run's end.
type metering struct {
	childs        []*os.File // to be inherited
	asked, answer *os.File
	done          chan struct{}
}

// startMeter has meter asked whenever the shell says that bytes have come, until stop.
func startMeter(ctx context.Context, meter func(context.Context, int) error) (*metering, error) {
	m := &metering{done: make(chan struct{})}
	var ask, allowed *os.File
	var err error
	if m.asked, ask, err = os.Pipe(); err != nil {
		return nil, err
	}
	if allowed, m.answer, err = os.Pipe(); err != nil {
		m.asked.Close()
		ask.Close()
		return nil, err
	}
	m.childs = []*os.File{ask, allowed}
	go func() {
		defer close(m.done)
		defer m.answer.Close() // so that the shell does not wait for ever
		var question [meterQuestions]byte
		for {
			if _, err := io.ReadFull(m.asked, question[:]); err != nil {
				return
			}
			if meter(ctx, int(binary.BigEndian.Uint32(question[:]))) != nil {
				return
			}
			if _, err := m.answer.Write([]byte{1}); err != nil {
				return
			}
		}
	}()
	return m, nil
}

// stop ends it once rsync has ended. What the shell said last is heard, if it has ended too.
func (m *metering) stop(cancel context.CancelFunc) {
	for _, f := range m.childs {
		f.Close()
	}
	cancel()
	m.asked.Close()
	<-m.done
}

// metered is the shell's end: a reader that asks now and then whether it may go on.
func metered(from io.Reader) io.Reader {
	if os.Getenv(meterVariable) == "" {
		return from
	}
	return &meteredReader{from: from, ask: os.NewFile(meterAskFD, "meter"), answer: os.NewFile(meterAnswerFD, "allowance")}
}

type meteredReader struct {
	from        io.Reader
	ask, answer *os.File
	untold      int
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.untold += n
	if m.untold < meterStep && err == nil {
		return n, nil
	}
	if told := m.tell(); told != nil {
		return 0, told
	}
	return n, err
}

func (m *meteredReader) tell() error {
	if m.untold == 0 {
		return nil
	}
	_, err := m.ask.Write(binary.BigEndian.AppendUint32(nil, uint32(m.untold)))
	m.untold = 0
	var allowed [1]byte
	if err == nil {
		_, err = io.ReadFull(m.answer, allowed[:])
	}
	if err != nil {
		return fmt.Errorf("ask whether more bytes may come: %w", err)
	}
	return nil
}
