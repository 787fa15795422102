package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// Between operations a server may say a little, and must not be silent for longer than an IDLE is kept up (RFC 2177).
const (
	idleOctets  = 64 << 10
	idleTimeout = 30 * time.Minute
)

// Conn is a connection on which every operation is bounded. The deadlines that a library sets are honoured only where
// they are earlier than the operation's own.
//
// Reading, writing, Op and Close may be called from different goroutines; operations do not overlap.
type Conn struct {
	net.Conn          // what is read and written: the TLS connection, or raw
	raw      net.Conn // below TLS
	address  string
	replay   []byte // a greeting to be read once more; only before the first Read

	mu    sync.Mutex
	hard  time.Time // absolute deadline of the operation
	left  int64     // octets that may still come
	cause error     // the first fault, which is the one that tells
}

func newConn(raw net.Conn, e Endpoint) *Conn {
	return &Conn{Conn: raw, raw: raw, address: e.Address(), left: greetingOctets}
}

// Op begins an operation that may last d and receive octets. When ctx ends, or d is over, the connection is closed:
// a command that was cut off leaves nothing to go on with. The operation ends with done, after which the connection may
// be idle until the next one.
func (c *Conn) Op(ctx context.Context, d time.Duration, octets int64) (done func()) {
	limited, cancel := context.WithTimeout(ctx, d)
	deadline, _ := limited.Deadline()
	c.bound(deadline, octets)
	stop := context.AfterFunc(limited, func() { c.interrupt(ctx, d) })
	return func() {
		if stop() {
			c.bound(time.Now().Add(idleTimeout), idleOctets)
		}
		cancel()
	}
}

// Left returns how many octets may still come in this operation.
func (c *Conn) Left() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.left, 0)
}

func (c *Conn) bound(deadline time.Time, octets int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hard, c.left = deadline, octets
	_ = c.raw.SetDeadline(deadline) // fails on a closed connection alone, where reading and writing do too
}

// interrupt ends the connection because an operation may not go on.
func (c *Conn) interrupt(ctx context.Context, d time.Duration) {
	if ctx.Err() != nil {
		_ = c.keep(fault.New(stopClass(ctx), "interrupted", "", fmt.Errorf("%s: operation was interrupted: %w", c.address, context.Cause(ctx))))
	} else {
		_ = c.keep(deadlineFault(c.address, fmt.Errorf("no end after %s: %w", d, os.ErrDeadlineExceeded)))
	}
	_ = c.raw.Close() // the fault is kept
}

// stopClass is Stopping for a caller who cancelled, and Transient for one whose time was over.
func stopClass(ctx context.Context) fault.Class {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Stopping
	}
	return fault.Transient
}

func deadlineFault(address string, err error) *fault.Error {
	return fault.New(fault.Transient, "deadline", "the server is slow or stuck: see its log, or raise timeout of the profile", fmt.Errorf("%s: %w", address, err))
}

// keep remembers the connection's first fault and returns it.
func (c *Conn) keep(f *fault.Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = f
	}
	return c.cause
}

// Fault returns why the connection broke: its first fault if it has one, else err as a fault. It is nil for nil on a
// sound connection.
func (c *Conn) Fault(err error) error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if cause != nil || err == nil {
		return cause
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return c.keep(f)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.keep(deadlineFault(c.address, err))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return c.keep(fault.New(fault.Transient, "closed_by_server",
			"the server closed the connection: its log says why; often a limit of connections or a restart", fmt.Errorf("%s: %w", c.address, err)))
	}
	if errors.Is(err, net.ErrClosed) {
		return fault.New(fault.Transient, "closed", "", fmt.Errorf("%s: %w", c.address, err))
	}
	if networkError, ok := errors.AsType[*net.OpError](err); ok {
		return c.keep(fault.New(fault.Transient, "network", "check this machine's network and the way to the mail server", fmt.Errorf("%s: %w", c.address, networkError)))
	}
	return err
}

// Read reads as far as the operation's octets allow. A connection that the server closed ends with io.EOF; other errors
// are the connection's fault.
func (c *Conn) Read(b []byte) (int, error) {
	if len(c.replay) > 0 {
		n := copy(b, c.replay)
		c.replay = c.replay[n:]
		return n, nil
	}
	// With nothing left one octet is still asked for: silence is no fault, an octet too many is.
	if most := max(c.Left(), 1); int64(len(b)) > most {
		b = b[:most]
	}
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	c.left -= int64(n)
	over := c.left < 0
	c.mu.Unlock()
	if over {
		return 0, c.keep(fault.New(fault.Transient, "octet_budget", "the server sends more than was asked for: see its log",
			fmt.Errorf("%s: more octets than this operation may receive", c.address)))
	}
	if err == nil {
		return n, nil
	}
	f := c.Fault(err)
	if errors.Is(err, io.EOF) { // bufio and its like compare
		return n, io.EOF
	}
	return n, f
}

// Write writes within the operation's deadline.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		return n, c.Fault(err)
	}
	return n, nil
}

// SetDeadline sets a deadline where it is earlier than the operation's; zero means the operation's.
func (c *Conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.SetDeadline(c.clamp(t))
}

// SetReadDeadline is SetDeadline for reading.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.SetReadDeadline(c.clamp(t))
}

// SetWriteDeadline is SetDeadline for writing.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.SetWriteDeadline(c.clamp(t))
}

func (c *Conn) clamp(t time.Time) time.Time {
	if !c.hard.IsZero() && (t.IsZero() || c.hard.Before(t)) {
		return c.hard
	}
	return t
}

// Close closes the connection at once. It sends no TLS close_notify, which could block: the protocols have a good-bye
// of their own.
func (c *Conn) Close() error { return c.raw.Close() }
