package pop3

import (
	"bytes"
	"context"
	"errors"
	"net"
	"time"

	gopop3 "github.com/knadh/go-pop3"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
)

// Bounds of a session.
const (
	defaultTimeout = time.Minute     // of one command, where the profile has none
	quitTimeout    = 5 * time.Second // of a QUIT that only says goodbye
	slowestRate    = 32 << 10        // octets a second that a server must reach in the long run
	simpleOctets   = 64 << 10        // of a reply of one line, or to CAPA
	drainOctets    = 8 << 20         // read beyond a message's bound to find its end
	pipelineDepth  = 16              // commands under way; more gained nothing
	perDeletion    = 20 * time.Millisecond
)

// Session is one log-in to one maildrop. It is not safe for concurrent use.
//
// A command that fails in any other way than by -ERR ends the session: the connection is closed, and what a server may
// still send is never read.
type Session struct {
	conn     *dial.Conn
	wire     *wire
	relay    *relay
	client   *gopop3.Conn
	spoolDir string
	timeout  time.Duration
	caps     map[string]string // keyword, upper case, to its arguments; nil: the server has no CAPA

	listed    bool
	complete  bool
	entries   []entry // in order of message-number
	retrieved bool    // a message was handed over
	ended     bool
}

// relay is what go-pop3 takes for the connection. Its Read hands out one status line at a time, so that go-pop3's own
// buffer is empty whenever a reply of one line has been read, and wire and go-pop3 can take turns on one connection.
type relay struct {
	net.Conn
	wire *wire
	rest []byte // of the line that is being handed out
	last []byte // the newest line
}

// Read implements io.Reader.
func (r *relay) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		line, err := r.wire.statusLine()
		if err != nil {
			return 0, err
		}
		if _, err := parseReply(line); err != nil { // go-pop3 would take an empty line for success
			return 0, err
		}
		r.last = append(r.last[:0], line...)
		r.rest = append(bytes.Clone(line), '\r', '\n')
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// can reports whether the server announced a capability (RFC 2449 §5).
func (s *Session) can(keyword string) bool {
	_, ok := s.caps[keyword]
	return ok
}

// patience is how long a reply of so many octets may take.
func (s *Session) patience(octets int64) time.Duration {
	return s.timeout + time.Duration(octets/slowestRate)*time.Second
}

// op runs f, which may take so long and exchange so many octets, under the connection's guard. An error that f returns
// ends the session.
func (s *Session) op(ctx context.Context, d time.Duration, octets int64, f func() error) error {
	if s.ended {
		return errEnded()
	}
	if err := context.Cause(ctx); err != nil {
		s.drop()
		return err
	}
	done := s.conn.Op(ctx, d, octets+readBuffer) // the buffer may be filled with what comes next
	defer done()
	err := f()
	if err == nil {
		return nil
	}
	err = s.lost(err)
	s.drop()
	return err
}

// simple runs a command of go-pop3 that is answered with one line. A refusal is a reply, not an error.
func (s *Session) simple(ctx context.Context, d time.Duration, f func() error) (reply, error) {
	var r reply
	err := s.op(ctx, d, simpleOctets, func() error {
		s.relay.last = s.relay.last[:0]
		err := f()
		if len(s.relay.last) == 0 { // nothing was answered
			if err == nil {
				err = violation("empty reply")
			}
			return err
		}
		answer, bad := parseReply(s.relay.last)
		if bad == nil && answer.challenge {
			bad = violation("a challenge that nothing asked for")
		}
		if bad != nil {
			return bad
		}
		if r = answer; r.ok { // then err is about what follows +OK
			return err
		}
		return nil
	})
	return r, err
}

// lost classes an error of the connection.
func (s *Session) lost(err error) error {
	if errors.Is(err, errRunaway) {
		return runaway(err)
	}
	return s.conn.Fault(err)
}

func runaway(err error) error {
	return fault.New(fault.Transient, "reply_too_long", "the server sends more than it announced: look at its log", err)
}

// drop closes the connection without QUIT: deletions asked for are void (RFC 1939 §6).
func (s *Session) drop() {
	s.ended = true
	_ = s.conn.Close() // there is nothing more to lose
}

// Close ends the session with QUIT and closes the connection, within a few seconds; when ctx is done it closes at once.
// It asks for no deletions, and none are pending: Dispose ends the session itself. After a failure or a second time it
// does nothing.
func (s *Session) Close(ctx context.Context) error {
	if s.ended {
		return nil
	}
	r, err := s.simple(ctx, min(s.timeout, quitTimeout), s.client.Quit)
	s.drop()
	if err == nil && !r.ok {
		err = r.fault("QUIT", fault.Transient, "quit_refused", "")
	}
	return err
}

func errEnded() error {
	return fault.New(fault.Transient, "session_closed", "", errors.New("the session has ended"))
}
