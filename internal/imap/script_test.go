package imap

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS MOVE] hi\r\n"

// script answers commands by their beginning, the longest that fits. "TAG" in an answer is the command's tag. What has no
// answer of its own is answered with OK.
type script map[string]string

// usual is how a folder with two messages answers.
func usual(more script) script {
	s := script{
		"CAPABILITY": "* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS MOVE\r\nTAG OK done\r\n",
		"EXAMINE":    "* 2 EXISTS\r\n* OK [UIDVALIDITY 9] ok\r\n* OK [UIDNEXT 12] ok\r\nTAG OK [READ-ONLY] done\r\n",
		"SELECT":     "* 2 EXISTS\r\n* OK [UIDVALIDITY 9] ok\r\n* OK [UIDNEXT 12] ok\r\nTAG OK [READ-WRITE] done\r\n",
	}
	maps.Copy(s, more)
	return s
}

func (s script) answer(command string) string {
	best, answer := -1, "TAG OK done\r\n"
	for prefix, a := range s {
		if strings.HasPrefix(command, prefix) && len(prefix) > best {
			best, answer = len(prefix), a
		}
	}
	return answer
}

// run speaks s on c. An answer that holds "|" is its first part the first time, and the next one after that. An answer that ends in "HANG" leaves the connection open and silent, one in "CLOSE" closes it.
func (s script) run(c net.Conn, hello string) {
	if _, err := io.WriteString(c, hello); err != nil {
		return
	}
	br := bufio.NewReader(c)
	uses := make(map[string]int)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		answer := s.answer(command)
		parts := strings.Split(answer, "|")
		uses[answer]++
		answer = strings.ReplaceAll(parts[min(uses[answer], len(parts))-1], "TAG", tag)
		answer, hang := strings.CutSuffix(answer, "HANG")
		answer, over := strings.CutSuffix(answer, "CLOSE")
		if _, err := io.WriteString(c, answer); err != nil || over {
			return
		}
		if strings.HasPrefix(answer, "+") {
			if line, _ = br.ReadString('\n'); line == "AGFubgBwdw==\r\n" {
				_, _ = io.WriteString(c, tag+" OK done\r\n")
			}
		}
		if hang {
			_, _ = io.Copy(io.Discard, br)
			return
		}
		if strings.HasPrefix(command, "LOGOUT") {
			return
		}
	}
}

// listen serves every connection with handle until the test ends.
func listen(t *testing.T, handle func(net.Conn)) *mailbox.Profile {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			handle(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return &mailbox.Profile{Protocol: mailbox.IMAP, Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: mailbox.Plaintext, Timeout: 5 * time.Second, MaxOctets: 1 << 20}
}

// scripted opens a session with a server that speaks s.
func scripted(t *testing.T, s script) *Session {
	t.Helper()
	session, err := new(Opener).Open(t.Context(), listen(t, func(c net.Conn) { s.run(c, greeting) }), "ann", "pw")
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	closeWithTest(t, session)
	return session
}

func closeWithTest(t *testing.T, s *Session) {
	t.Helper()
	t.Cleanup(func() { _ = s.Close(t.Context()) }) // the context is over: it closes without a good-bye
}

func wantFault(t *testing.T, err error, class fault.Class, code string) {
	t.Helper()
	gotClass, gotCode, text, hint := fault.Describe(err)
	if gotClass != class || gotCode != code {
		t.Fatalf("error: got %s %s (%s; %s), want %s %s", gotClass, gotCode, text, hint, class, code)
	}
	if hint == "" && class != fault.Stopping {
		t.Errorf("%s has no hint", code)
	}
	if strings.ContainsAny(text+hint, "\r\n\x00") {
		t.Errorf("error %q is not one line", text+hint)
	}
}

// ref returns a ref in the folder of usual.
func ref(uid uint32, octets int64) source.Ref {
	return source.Ref{Folder: "INBOX", UIDValidity: 9, UID: uid, Octets: octets}
}

// taken is what Fetch handed over, by UID, in short.
func taken(t *testing.T, s *Session, refs []source.Ref, most int64) (map[uint32]string, error) {
	t.Helper()
	got := make(map[uint32]string)
	err := s.Fetch(t.Context(), refs, most, func(f source.Fetched) error {
		if _, twice := got[f.Ref.UID]; twice {
			t.Errorf("uid %d: got it twice, want once", f.Ref.UID)
		}
		var b strings.Builder
		if f.Raw != nil {
			fmt.Fprintf(&b, "%q", f.Raw.Bytes())
			_ = f.Raw.Close()
		}
		switch _, code, _, _ := fault.Describe(f.Err); {
		case f.Err == source.ErrVanished: //nolint:errorlint // exactly this one
			b.WriteString(" vanished")
		case f.Err == source.ErrTooLarge: //nolint:errorlint // exactly this one
			b.WriteString(" too large")
		case f.Err != nil:
			fmt.Fprintf(&b, " %s %s", fault.ClassOf(f.Err), code)
		}
		got[f.Ref.UID] = strings.TrimSpace(b.String())
		return nil
	})
	return got, err
}
