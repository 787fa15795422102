package dial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// open dials a scripted server in the clear.
func open(t *testing.T, script func(net.Conn)) *Conn {
	t.Helper()
	c, err := dial(t, t.Context(), serve(t, script))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return c
}

// silent keeps the connection open until the client closes it.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func TestOpDeadline(t *testing.T) {
	c := open(t, silent)
	defer c.Op(t.Context(), 30*time.Millisecond, 100)()
	// What a library does: no deadline, or one of its own that is later.
	for _, set := range []func(time.Time) error{c.SetReadDeadline, c.SetWriteDeadline, c.SetDeadline} {
		if err := errors.Join(set(time.Time{}), set(time.Now().Add(time.Hour))); err != nil {
			t.Fatalf("set a deadline: %v", err)
		}
	}
	_, err := c.Read(make([]byte, 1))
	wantFault(t, err, fault.Transient, "deadline")
	_, err = c.Write([]byte("x"))
	wantFault(t, err, fault.Transient, "deadline")
}

func TestOpEarlierDeadlineCounts(t *testing.T) {
	c := open(t, silent)
	defer c.Op(t.Context(), time.Hour, 100)()
	if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	wantFault(t, err, fault.Transient, "deadline")
}

func TestOpContext(t *testing.T) {
	reading := make(chan struct{})
	c := open(t, func(c net.Conn) { close(reading); silent(c) })
	ctx, cancel := context.WithCancel(t.Context())
	defer c.Op(ctx, time.Minute, 100)()
	go func() { <-reading; cancel() }()
	_, err := c.Read(make([]byte, 1))
	wantFault(t, err, fault.Stopping, "interrupted")
}

func TestOpContextDeadlineIsTransient(t *testing.T) {
	c := open(t, silent)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	defer c.Op(ctx, time.Minute, 100)()
	_, err := c.Read(make([]byte, 1))
	if got := fault.ClassOf(err); got != fault.Transient {
		t.Errorf("class: got %s (%v), want transient", got, err)
	}
}

// An operation that is over is not ended by its context any more.
func TestOpDone(t *testing.T) {
	c := open(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	ctx, cancel := context.WithCancel(t.Context())
	c.Op(ctx, 20*time.Millisecond, 100)()
	cancel()
	defer c.Op(t.Context(), 5*time.Second, 100)()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatalf("read: %v", err)
	}
}

func TestOctetBudget(t *testing.T) {
	send := make(chan int)
	defer close(send)
	c := open(t, func(c net.Conn) {
		for n := range send {
			_, _ = c.Write(bytes.Repeat([]byte("x"), n))
		}
	})
	defer c.Op(t.Context(), 5*time.Second, 10)()
	send <- 10
	if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
		t.Fatalf("read what is allowed: %v", err)
	}
	if got := c.Left(); got != 0 {
		t.Errorf("left: got %d, want 0", got)
	}
	send <- 1
	_, err := c.Read(make([]byte, 10))
	wantFault(t, err, fault.Transient, "octet_budget")
}

func TestClosedByServer(t *testing.T) {
	c := open(t, func(net.Conn) {})
	defer c.Op(t.Context(), 5*time.Second, 10)()
	_, err := c.Read(make([]byte, 1))
	if err != io.EOF { //nolint:errorlint // bufio compares like this
		t.Errorf("read: got %v, want io.EOF itself", err)
	}
	wantFault(t, c.Fault(errors.New("what a library made of it")), fault.Transient, "closed_by_server")
}

func TestFaultOfASoundConnection(t *testing.T) {
	c := open(t, silent)
	if err := c.Fault(nil); err != nil {
		t.Errorf("got %v, want none", err)
	}
	other := errors.New("not the connection's")
	if err := c.Fault(other); !errors.Is(err, other) {
		t.Errorf("got %v, want it unchanged", err)
	}
	own := fault.New(fault.Permanent, "mine", "hint", other)
	wantFault(t, c.Fault(own), fault.Permanent, "mine")
	wantFault(t, c.Fault(io.EOF), fault.Permanent, "mine") // the first one tells
}

func TestCloseUnblocksRead(t *testing.T) {
	c := open(t, silent)
	defer c.Op(t.Context(), time.Minute, 10)()
	go func() { _ = c.Close() }()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: got %v, want net.ErrClosed", err)
	}
}

func TestReplayIsReadOnce(t *testing.T) {
	c := open(t, func(c net.Conn) { _, _ = io.WriteString(c, "rest"); silent(c) })
	c.replay = []byte("greeting ")
	defer c.Op(t.Context(), 5*time.Second, 100)()
	b := make([]byte, 13)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "greeting rest" {
		t.Errorf("got %q and %v, want the greeting first", b, err)
	}
}

func TestEndpointOf(t *testing.T) {
	p := &mailbox.Profile{Protocol: mailbox.POP3, Host: "h", Port: 995, TLS: mailbox.ImplicitTLS, CAFile: "f", Timeout: time.Second}
	want := Endpoint{Protocol: mailbox.POP3, Host: "h", Port: 995, TLS: mailbox.ImplicitTLS, CAFile: "f", Timeout: time.Second}
	if got := EndpointOf(p); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := want.Address(); got != "h:995" {
		t.Errorf("address: got %q, want h:995", got)
	}
}
