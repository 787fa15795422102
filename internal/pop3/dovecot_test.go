package pop3_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pop3"
	"github.com/postroom/postroom/internal/source"
)

// TestDovecot shares one server: each subtest has an account of its own.
func TestDovecot(t *testing.T) { //nolint:tparallel // one after the other: a failed log-in slows down others from its address
	t.Parallel()
	d := mailtest.StartDovecot(t)
	at := func(name string) account {
		d.AddUser(t, name, password) // all of them before the first log-in: Dovecot looks at its accounts once a second
		return account{d, name}
	}
	octets, deleted, dropped, sasl, guarded, dated, large, cancelled := at("octets"), at("delete"), at("dropped"), at("sasl"),
		at("guarded"), at("dates"), at("large"), at("cancelled")
	t.Run("Octets", octets.octets)
	t.Run("Delete", deleted.delete)
	t.Run("DroppedBeforeQUIT", dropped.dropped)
	t.Run("SASL", sasl.sasl)
	t.Run("WrongPassword", guarded.wrongPassword)
	t.Run("Dates", dated.dates)
	t.Run("TooLarge", large.tooLarge)
	t.Run("Cancelled", cancelled.cancelled)
	t.Run("UnknownAuthority", guarded.unknownAuthority)
}

// account is an account of a Dovecot, for one test.
type account struct {
	*mailtest.Dovecot
	name string
}

// deliver puts messages into an account.
func (a account) deliver(tb testing.TB, messages ...string) {
	tb.Helper()
	for i, m := range messages {
		a.WriteFile(tb, a.name, "INBOX", fmt.Sprintf("%d.m%d.example", 1_700_000_000+i, i), []byte(m))
	}
}

func (a account) logIn(tb testing.TB, mode mailbox.TLSMode) *pop3.Session {
	tb.Helper()
	s, err := opener(tb).Open(tb.Context(), a.Profile(mailbox.POP3, mode), a.name, password)
	if err != nil {
		tb.Fatalf("Open with %s: %v", mode, err)
	}
	tb.Cleanup(func() { _ = s.Close(tb.Context()) }) // tests that care look at it
	return s
}

// plainly returns every message of a maildrop as a plain socket gets it, with the simplest reading there is.
func (a account) plainly(tb testing.TB, count int) []string {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", a.Address(mailbox.POP3))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // only read
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	r := bufio.NewReader(conn)
	say := func(command string) {
		if _, err := io.WriteString(conn, command); err != nil {
			tb.Fatal(err)
		}
		if reply, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(reply, "+OK") {
			tb.Fatalf("%q: got %q, %v", command, reply, err)
		}
	}
	say("")
	say("USER " + a.name + "\r\n")
	say("PASS " + password + "\r\n")
	out := make([]string, count)
	for i := range out {
		say(fmt.Sprintf("RETR %d\r\n", i+1))
		stream := []byte("\r\n")
		for !bytes.HasSuffix(stream, []byte("\r\n.\r\n")) {
			octet, err := r.ReadByte()
			if err != nil {
				tb.Fatal(err)
			}
			stream = append(stream, octet)
		}
		out[i] = strings.ReplaceAll(string(stream[:len(stream)-3]), "\r\n.", "\r\n")[2:]
	}
	say("QUIT\r\n")
	return out
}

func (a account) octets(t *testing.T) {
	messages := []string{
		"Subject: plain\r\n\r\nbody\r\n",
		"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...b\r\n\r\n.\r\n",
		"Subject: LF only\n\nbody\n.\n..\n",
		"Subject: mixed\r\n\nbody\r.\r\n.\n+OK\r\n",
		"Subject: no end",
		"Subject: 8bit \xff\xfe\r\n\r\n\x80\x81\r\n",
		"\r\n\r\n",
		"Subject: large\r\n\r\n" + noise(3<<20),
	}
	for i := range 60 {
		messages = append(messages, fmt.Sprintf("Subject: %d\r\n\r\n%s", i, noise(200*i)))
	}
	a.deliver(t, messages...)
	want := a.plainly(t, len(messages))
	slices.Sort(want) // the order of files delivered within a second is Dovecot's
	for _, mode := range []mailbox.TLSMode{mailbox.ImplicitTLS, mailbox.StartTLS, mailbox.Plaintext} {
		s := a.logIn(t, mode)
		l := list(t, s)
		if !l.Complete || l.Messages != len(messages) || len(l.Refs) != len(messages) {
			t.Fatalf("%s: List: got %d of %d messages, complete %t; want %d", mode, len(l.Refs), l.Messages, l.Complete, len(messages))
		}
		got, err := fetch(t, s, l.Refs, maxTotal)
		if err != nil {
			t.Fatalf("%s: Fetch: %v", mode, err)
		}
		var octets []string
		for _, r := range l.Refs {
			octets = append(octets, got[r.UniqueID])
		}
		slices.Sort(octets)
		for i := range want {
			if octets[i] != want[i] {
				t.Errorf("%s: message %d: got %.60q; want %.60q, as a plain socket gets it", mode, i, octets[i], want[i])
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("%s: Close: %v", mode, err)
		}
	}
}

// noise is n octets with awkward line ends and dots.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var b strings.Builder
	for b.Len() < n {
		b.WriteString([]string{"\r\n", ".", "\n", "\r\n.", "word ", "\r\n..\r\n", "long line ", "\xe4"}[r.IntN(8)])
	}
	return b.String() + "\r\n"
}

func (a account) delete(t *testing.T) {
	a.deliver(t, "Subject: 1\r\n\r\n", "Subject: 22\r\n\r\n", "Subject: 333\r\n\r\n")
	s := a.logIn(t, mailbox.ImplicitTLS)
	refs := list(t, s).Refs
	disposed, err := s.Dispose(t.Context(), deleteAll(refs[1:2]))
	if err != nil || disposed[0].Done != source.DoneYes {
		t.Fatalf("Dispose: got %+v, %v; want done", disposed, err)
	}
	s = a.logIn(t, mailbox.StartTLS)
	left := list(t, s)
	if got, want := ids(left.Refs), ids([]source.Ref{refs[0], refs[2]}); !slices.Equal(got, want) || !left.Complete {
		t.Errorf("after Dispose: got %q, complete %t; want %q", got, left.Complete, want)
	}
	disposed, err = s.Dispose(t.Context(), deleteAll(refs))
	if err != nil {
		t.Fatalf("second Dispose: %v", err)
	}
	if got, want := outcomes(t, deleteAll(refs), disposed), []string{"done", "gone", "done"}; !slices.Equal(got, want) {
		t.Errorf("second Dispose: got %q; want %q", got, want)
	}
	empty := list(t, a.logIn(t, mailbox.Plaintext))
	if len(empty.Refs) != 0 || !empty.Complete || empty.Messages != 0 {
		t.Errorf("List of an empty maildrop: got %+v; want none, complete", empty)
	}
}

func ids(refs []source.Ref) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = r.UniqueID
	}
	return out
}

// dropped loses the connection after DELE: nothing is deleted, and nothing counts as deleted.
func (a account) dropped(t *testing.T) {
	a.deliver(t, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n")
	front, cut := proxy(t, a.Address(mailbox.POP3), "QUIT", "")
	p := a.Profile(mailbox.POP3, mailbox.Plaintext)
	p.Port = front
	s, err := opener(t).Open(t.Context(), p, a.name, password)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	orders := deleteAll(list(t, s).Refs)
	disposed, err := s.Dispose(t.Context(), orders)
	check(t, "Dispose", err, fault.Transient, "closed_by_server")
	if got := outcomes(t, orders, disposed); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("Dispose: got %q; want none done", got)
	}
	<-cut
	if l := list(t, a.logIn(t, mailbox.Plaintext)); len(l.Refs) != 2 {
		t.Errorf("after a lost QUIT: %d messages are left; want 2", len(l.Refs))
	}
}

// proxy forwards one connection until the client says word, and cuts it then. Lines that are hide do not come through. It
// returns its port, and a channel that is closed when both sides are.
func proxy(tb testing.TB, address, word, hide string) (port int, cut <-chan struct{}) {
	tb.Helper()
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		client, err := ln.Accept()
		if err != nil {
			return
		}
		defer client.Close() //nolint:errcheck // it is to be cut
		server, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", address)
		if err != nil {
			return
		}
		answers := make(chan struct{})
		go func() {
			defer close(answers)
			for r := bufio.NewReader(server); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if strings.TrimSpace(line) == hide {
					continue
				}
				if _, err := io.WriteString(client, line); err != nil {
					return
				}
			}
		}()
		r := bufio.NewReader(client)
		for {
			line, err := r.ReadString('\n')
			if err != nil || strings.HasPrefix(line, word) {
				break
			}
			if _, err := io.WriteString(server, line); err != nil {
				break
			}
		}
		_ = server.Close()
		<-answers
	}()
	tb.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().(*net.TCPAddr).Port, done
}

// sasl logs in with AUTH PLAIN: the server's USER is hidden.
func (a account) sasl(t *testing.T) {
	front, _ := proxy(t, a.Address(mailbox.POP3), "PASS", "USER")
	p := a.Profile(mailbox.POP3, mailbox.Plaintext)
	p.Port = front
	s, err := opener(t).Open(t.Context(), p, a.name, password)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if l := list(t, s); !l.Complete {
		t.Errorf("List: got %+v; want it complete", l)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func (a account) wrongPassword(t *testing.T) {
	const wrong = "not the right one"
	_, err := opener(t).Open(t.Context(), a.Profile(mailbox.POP3, mailbox.ImplicitTLS), a.name, wrong)
	check(t, "Open", err, fault.Auth, "authentication_failed")
	if err != nil && strings.Contains(err.Error(), wrong) {
		t.Errorf("Open: the error holds the password: %v", err)
	}
}

func (a account) dates(t *testing.T) {
	a.deliver(t, "Received: from a\r\n by b; Mon, 6 May 2024 07:08:09 +0000\r\nDate: Tue, 7 May 2024 00:00:00 +0000\r\n\r\nbody\r\n")
	l, err := a.logIn(t, mailbox.ImplicitTLS).List(t.Context(), "INBOX", source.Since{Dates: true})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if got, want := l.Refs[0].InternalDate, time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC); !got.Equal(want) {
		t.Errorf("InternalDate: got %s; want %s", got, want)
	}
}

func (a account) tooLarge(t *testing.T) {
	a.deliver(t, "Subject: large\r\n\r\n"+strings.Repeat("0123456789\r\n", 100_000), "Subject: small\r\n\r\n")
	s := a.logIn(t, mailbox.ImplicitTLS)
	got, err := fetch(t, s, list(t, s).Refs, 100_000)
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	var values []string
	for _, v := range got {
		values = append(values, v)
	}
	slices.Sort(values)
	if want := []string{"Subject: small\r\n\r\n", "too large|Subject: large\r\n\r\n"}; !slices.Equal(values, want) {
		t.Errorf("Fetch: got %q; want %q", values, want)
	}
}

// cancelled stops in the middle of a Fetch: what was handed over is whole, and the error says that we were stopped.
func (a account) cancelled(t *testing.T) {
	var messages []string
	for i := range 40 {
		messages = append(messages, fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("0123456789\r\n", 5000)))
	}
	a.deliver(t, messages...)
	s := a.logIn(t, mailbox.Plaintext)
	refs := list(t, s).Refs
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	err := s.Fetch(ctx, refs, maxTotal, func(f source.Fetched) error {
		if calls++; calls == 3 {
			cancel()
		}
		if !strings.HasSuffix(string(f.Raw.Bytes()), "0123456789\r\n") || f.Raw.Octets() < 60_000 {
			t.Errorf("message %d is not whole: %d octets", calls, f.Raw.Octets())
		}
		return f.Raw.Close()
	})
	if fault.ClassOf(err) != fault.Stopping || calls != 3 {
		t.Errorf("Fetch: got %v after %d messages; want stopping after 3", err, calls)
	}
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close after it was stopped: %v", err)
	}
}

func (a account) unknownAuthority(t *testing.T) {
	p := a.Profile(mailbox.POP3, mailbox.ImplicitTLS)
	p.CAFile = ""
	_, err := (&pop3.Opener{Dialer: &dial.Dialer{}}).Open(t.Context(), p, user, password)
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Class != fault.Permanent || e.Hint == "" {
		t.Errorf("Open with an unknown CA: got %v; want a permanent fault with a hint", err)
	}
}

// BenchmarkDovecot fetches 1,000 small messages from a real server.
func BenchmarkDovecot(b *testing.B) {
	d := mailtest.StartDovecot(b)
	messages := make([]string, 1000)
	for i := range messages {
		messages[i] = fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("0123456789 0123456789 0123456789\r\n", 200))
	}
	d.AddUser(b, "bench", password)
	a := account{d, "bench"}
	a.deliver(b, messages...)
	for _, mode := range []mailbox.TLSMode{mailbox.Plaintext, mailbox.ImplicitTLS} {
		b.Run(string(mode), func(b *testing.B) {
			s := a.logIn(b, mode)
			refs := list(b, s).Refs
			b.SetBytes(int64(len(refs)) * refs[0].Octets)
			for b.Loop() {
				if err := s.Fetch(b.Context(), refs, maxTotal, func(f source.Fetched) error { return f.Raw.Close() }); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}
