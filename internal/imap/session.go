// Package imap reads and disposes of mail over IMAP (RFC 3501, RFC 9051), on go-imap.
//
// Invariants: a message is its folder, UIDVALIDITY and UID; sequence numbers live within one command. Listing and
// fetching open folders read-only and set no flag. Octets are handed over only when the literal was as long as the server
// announced. No bare EXPUNGE takes along what others marked. Every command has a deadline and a limit of octets; what the
// server says passes a filter before the library sees it; after a protocol error the session is over. Errors hold the
// server's words, shortened and made printable, but never a password or anything of a message.
package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// Times and octets of one command. A command that carries messages may take a second longer for each slowest octets.
const (
	logoutTimeout = 5 * time.Second
	commandOctets = 256 << 10
	slowest       = 64 << 10
)

// Opener opens sessions.
type Opener struct {
	SpoolDir string       // where long messages are spooled; "": the system's directory for temporary files
	Dialer   *dial.Dialer // shared, so that CA files are read once; nil: one of its own
}

// Session is one connection to a server, logged in. It is used by one goroutine. After an error that is not a server's
// plain refusal it is over: every method returns that error, and Close is still to be called.
type Session struct {
	profile *mailbox.Profile
	timeout time.Duration
	spool   string
	conn    *dial.Conn
	filter  *filter
	client  *imapclient.Client
	caps    imap.CapSet
	folder  opened
	over    error
	copyBuf []byte
}

// opened is the folder that is open.
type opened struct {
	name     string
	writable bool // by SELECT
	validity uint32
	uidNext  uint32
	messages uint32
}

// filtered is the connection as the client library sees it.
type filtered struct {
	*dial.Conn
	filter *filter
}

func (c filtered) Read(p []byte) (int, error) { return c.filter.Read(p) }

// Open connects to p's server and logs in. Errors are *fault.Error: those of package dial; authentication_failed and the
// like with class Auth; login_disabled, no_mechanism and preauth, which are permanent.
func (o *Opener) Open(ctx context.Context, p *mailbox.Profile, username, password string) (*Session, error) {
	dialer := o.Dialer
	if dialer == nil {
		dialer = new(dial.Dialer)
	}
	conn, err := dialer.Dial(ctx, dial.EndpointOf(p))
	if err != nil {
		return nil, err
	}
	s := &Session{profile: p, timeout: p.Timeout, spool: o.SpoolDir, conn: conn, filter: newFilter(conn)}
	s.filter.secrets = secretsOf(username, password)
	if s.timeout <= 0 {
		s.timeout = dial.DefaultTimeout
	}
	done := conn.Op(ctx, s.timeout, commandOctets) // before the client begins to read
	s.client = imapclient.New(filtered{Conn: conn, filter: s.filter}, nil)
	err = s.greet()
	done()
	if err == nil {
		err = s.login(ctx, username, password)
	}
	if err != nil {
		s.shut()
		return nil, err
	}
	s.filter.freeze()
	return s, nil
}

// greet waits for the greeting and for the capabilities.
func (s *Session) greet() error {
	err := s.client.WaitGreeting()
	if err != nil {
		return s.broken("greeting", err)
	}
	if s.filter.notes().preauth {
		return fault.New(fault.Permanent, "preauth", "let the server ask for a log-in: it is not known whose mail this is",
			errors.New("the server says PREAUTH: it has logged us in as someone by itself"))
	}
	if s.caps = s.client.Caps(); s.caps == nil {
		return s.broken("CAPABILITY", io.ErrUnexpectedEOF)
	}
	return nil
}

// run carries out one command within d and octets. A refusal becomes a fault of the command, any other error ends the
// session.
func (s *Session) run(ctx context.Context, what string, d time.Duration, octets int64, w want, command func() error) error {
	if s.over != nil {
		return s.over
	}
	s.filter.expect(w)
	done := s.conn.Op(ctx, d, octets)
	err := command()
	done()
	return s.outcome(what, err)
}

// outcome makes a command's error a fault.
func (s *Session) outcome(what string, err error) error {
	if s.over != nil {
		return s.over
	}
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*imap.Error](err); ok && s.filter.failure() == nil {
		return refusal(what, refused)
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		s.over = err
		s.shut()
		return err
	}
	return s.broken(what, err)
}

// broken ends the session and says why it broke.
func (s *Session) broken(what string, err error) error {
	cause := s.conn.Fault(nil)
	reason := s.filter.failure()
	s.shut()
	notes := s.filter.notes()
	f, _ := errors.AsType[*fault.Error](cause)
	switch {
	case notes.bye != nil && (f == nil || f.Code == "closed_by_server"):
		s.over = byeFault(what, *notes.bye)
	case f != nil:
		s.over = fault.New(f.Class, f.Code, f.Hint, fmt.Errorf("%s: %w", what, withWarning(f, notes.warning)))
	default:
		if !errors.Is(reason, errResponse) && !errors.Is(reason, errLine) && !errors.Is(reason, errNesting) && !errors.Is(reason, errFetch) {
			reason = errors.New(s.filter.secrets.shown(err.Error())) // the client library's
		}
		s.over = fault.New(fault.Transient, "protocol_error", "the server breaks the protocol: see its log, or whether an update mends it",
			fmt.Errorf("%s: %w", what, withWarning(reason, notes.warning)))
	}
	return s.over
}

// shut closes the connection and waits for the client's goroutine, which nothing holds up: it reads from a closed
// connection, and all that it handed over has been taken.
func (s *Session) shut() {
	_ = s.conn.Close()   // there is nothing more to lose
	_ = s.client.Close() // its error is that of the connection
}

// Close logs out, in five seconds at most, and closes the connection. It does not log out when ctx is over.
func (s *Session) Close(ctx context.Context) error {
	if s.over != nil {
		return nil //nolint:nilerr // it is closed, and the error is known
	}
	err := s.run(ctx, "LOGOUT", min(logoutTimeout, s.timeout), commandOctets, want{}, func() error { return s.client.Logout().Wait() })
	if s.over == nil {
		s.over = fault.New(fault.Transient, "session_closed", "", errors.New("the session was closed"))
		s.shut()
	}
	if fault.ClassOf(err) != fault.Stopping { // else it was not to wait for the good-bye
		return err
	}
	return nil
}

// forMessages returns how long a command may take that carries octets of messages.
func (s *Session) forMessages(octets int64) time.Duration {
	return s.timeout + time.Duration(octets/slowest)*time.Second
}
