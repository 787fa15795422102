package pop3_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pop3"
	"github.com/postroom/postroom/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "alice"
	password = "correct horse"
	maxTotal = 64 << 20
)

// What a script may answer instead of text.
const (
	hangUp = "\x00hang up"
	silent = "\x00silent"
)

type stored struct {
	uniqueID string
	octets   string
}

// script is a POP3 server that behaves, but where answers say otherwise.
type script struct {
	greeting string
	caps     []string // nil: CAPA is unknown
	messages []stored
	// answers, by whole command ("RETR 2") or verb ("RETR"), replace what the server would say. They are sent as they
	// are; hangUp at the end closes the connection, silent waits for the client to do so.
	answers map[string]string
	on      map[string]func() // called when a verb comes in
	flood   string            // a command that is answered without an end

	mu      sync.Mutex
	seen    []string
	deleted map[int]bool
	sent    int64 // octets of a flood
	ahead   int   // commands that came before the one in front of them was answered
}

var allCaps = []string{"USER", "UIDL", "TOP", "PIPELINING", "RESP-CODES"}

// start runs the script on loopback until the test ends, and returns a profile for it.
func (s *script) start(tb testing.TB) *mailbox.Profile {
	tb.Helper()
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close() //nolint:errcheck // of a server that plays dead
				s.serve(conn)
			})
		}
	})
	tb.Cleanup(func() {
		if err := ln.Close(); err != nil {
			tb.Errorf("close the listener: %v", err)
		}
		wg.Wait()
	})
	return &mailbox.Profile{
		Protocol: mailbox.POP3, Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, TLS: mailbox.Plaintext,
		Timeout: 10 * time.Second,
	}
}

func (s *script) serve(conn net.Conn) {
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	greeting := s.greeting
	if greeting == "" {
		greeting = "+OK ready <1.2@example.org>\r\n"
	}
	deleted := map[int]bool{}
	for line, answer := "", greeting; ; {
		text, end := strings.CutSuffix(answer, hangUp)
		text, wait := strings.CutSuffix(text, silent)
		if strings.HasPrefix(line, "QUIT") && strings.HasPrefix(answer, "+OK") && !end && !wait { // deleted before it is told
			s.mu.Lock()
			s.deleted = deleted
			s.mu.Unlock()
		}
		if _, err := w.WriteString(text); err != nil {
			return
		}
		if r.Buffered() == 0 || end || wait {
			if w.Flush() != nil || end {
				return
			}
		}
		if wait {
			_, _ = io.Copy(io.Discard, r) // until the client gives up
			return
		}
		if strings.HasPrefix(line, "QUIT") {
			return
		}
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		s.seen = append(s.seen, line)
		if r.Buffered() > 0 {
			s.ahead++
		}
		s.mu.Unlock()
		if s.flood != "" && line == s.flood {
			s.drown(w)
			return
		}
		answer = s.answer(line, deleted)
	}
}

// drown sends 256 MB without a line end, or as much of it as the client takes.
func (s *script) drown(w *bufio.Writer) {
	block := strings.Repeat("A", 1<<16)
	_, _ = w.WriteString(s.answers[s.flood])
	for range 4096 {
		n, err := w.WriteString(block)
		s.mu.Lock()
		s.sent += int64(n)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *script) answer(line string, deleted map[int]bool) string {
	verb, rest, _ := strings.Cut(line, " ")
	if on := s.on[verb]; on != nil {
		on()
	}
	for _, key := range []string{line, verb} {
		if answer, ok := s.answers[key]; ok {
			return answer
		}
	}
	number := -1
	if fields := strings.Fields(rest); len(fields) > 0 {
		if n, err := strconv.Atoi(fields[0]); err == nil && n >= 1 && n <= len(s.messages) && !deleted[n] {
			number = n - 1
		} else if verb != "USER" && verb != "PASS" && verb != "AUTH" {
			return "-ERR no such message\r\n"
		}
	}
	switch verb {
	case "CAPA":
		if s.caps == nil {
			return "-ERR unknown command\r\n"
		}
		return "+OK\r\n" + strings.Join(append(slices.Clip(s.caps), ".\r\n"), "\r\n")
	case "STAT":
		return fmt.Sprintf("+OK %d 1\r\n", len(s.messages))
	case "UIDL", "LIST":
		if number >= 0 {
			return fmt.Sprintf("+OK %d %d\r\n", number+1, len(s.messages[number].octets))
		}
		return s.list(verb)
	case "RETR":
		return "+OK\r\n" + stuffed(s.messages[number].octets)
	case "TOP":
		head, _, _ := strings.Cut(s.messages[number].octets, "\r\n\r\n")
		return "+OK\r\n" + stuffed(head+"\r\n\r\n")
	case "DELE":
		deleted[number+1] = true
	}
	return "+OK\r\n"
}

func (s *script) list(verb string) string {
	var b strings.Builder
	b.WriteString("+OK\r\n")
	for i, m := range s.messages {
		if verb == "UIDL" {
			fmt.Fprintf(&b, "%d %s\r\n", i+1, m.uniqueID)
		} else {
			fmt.Fprintf(&b, "%d %d\r\n", i+1, len(m.octets))
		}
	}
	return b.String() + ".\r\n"
}

// commands returns what clients said so far.
func (s *script) commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// gone returns the numbers of the messages that the last session deleted.
func (s *script) gone() map[int]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleted
}

// stuffed is octets as a server sends them (RFC 1939 §3).
func stuffed(octets string) string {
	octets = strings.ReplaceAll("\r\n"+octets, "\r\n.", "\r\n..")[2:]
	if octets != "" && !strings.HasSuffix(octets, "\r\n") {
		octets += "\r\n"
	}
	return octets + ".\r\n"
}

// mails returns n messages m1…mn with a header and a body.
func mails(n int) []stored {
	out := make([]stored, n)
	for i := range out {
		out[i] = stored{
			uniqueID: fmt.Sprintf("m%d", i+1),
			octets:   fmt.Sprintf("Subject: %d\r\n\r\n.body of %d\r\n..\r\n", i+1, i+1),
		}
	}
	return out
}

func open(tb testing.TB, p *mailbox.Profile) *pop3.Session {
	tb.Helper()
	s, err := opener(tb).Open(tb.Context(), p, user, password)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() { _ = s.Close(tb.Context()) }) // tests that care look at it
	return s
}

func opener(tb testing.TB) *pop3.Opener {
	tb.Helper()
	return &pop3.Opener{SpoolDir: tb.TempDir(), Dialer: &dial.Dialer{}}
}

func list(tb testing.TB, s *pop3.Session) source.Listing {
	tb.Helper()
	l, err := s.List(tb.Context(), "INBOX", source.Since{})
	if err != nil {
		tb.Fatalf("List: %v", err)
	}
	return l
}

// took is what Fetch handed over, by unique-id.
type took map[string]string

// fetch runs Fetch; a message's octets, or its error's code or text, are its value.
func fetch(tb testing.TB, s *pop3.Session, refs []source.Ref, maxOctets int64) (took, error) {
	tb.Helper()
	out := took{}
	err := s.Fetch(tb.Context(), refs, maxOctets, func(f source.Fetched) error {
		if _, ok := out[f.Ref.UniqueID]; ok {
			tb.Errorf("message %q was handed over twice", f.Ref.UniqueID)
		}
		out[f.Ref.UniqueID] = describe(tb, f)
		return nil
	})
	return out, err
}
