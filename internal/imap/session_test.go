package imap

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/source"
)

// connect opens a session with a Dovecot in the clear.
func connect(t *testing.T, d *mailtest.Dovecot, user, password string) *Session {
	t.Helper()
	s, err := (&Opener{SpoolDir: t.TempDir()}).Open(t.Context(), d.Profile(mailbox.IMAP, mailbox.Plaintext), user, password)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	closeWithTest(t, s)
	return s
}

func TestOpen(t *testing.T) {
	d := mailtest.StartDovecot(t)
	o := &Opener{Dialer: new(dial.Dialer)}
	for i, password := range []string{"pw", `a "b" \c{4}`, "pässwörd €", strings.Repeat("x", 900)} {
		user := fmt.Sprintf("u%d", i)
		d.AddUser(t, user, password)
		for _, mode := range []mailbox.TLSMode{mailbox.Plaintext, mailbox.StartTLS, mailbox.ImplicitTLS} {
			s, err := o.Open(t.Context(), d.Profile(mailbox.IMAP, mode), user, password)
			if err != nil {
				t.Errorf("%s with password %q: %v", mode, password, err)
				continue
			}
			if _, err := s.List(t.Context(), "INBOX", source.Since{}); err != nil {
				t.Errorf("%s: list: %v", mode, err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("%s: close: %v", mode, err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("%s: close again: %v", mode, err)
			}
			_, err = s.List(t.Context(), "INBOX", source.Since{})
			if _, code, _, _ := fault.Describe(err); code != "session_closed" {
				t.Errorf("%s: list after close: got %v, want session_closed", mode, err)
			}
		}
	}
}

func TestOpenWrongPassword(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "right")
	_, err := new(Opener).Open(t.Context(), d.Profile(mailbox.IMAP, mailbox.StartTLS), "ann", "s3cret-wrong")
	wantFault(t, err, fault.Auth, "authentication_failed")
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error holds the password: %v", err)
	}
}

func TestOpenRefusedAndDown(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	s := connect(t, d, "ann", "pw")
	d.Kill(t)
	_, err := s.List(t.Context(), "INBOX", source.Since{})
	if class := fault.ClassOf(err); class != fault.Transient {
		t.Errorf("list on a dead server: got %v, want a transient fault", err)
	}
	_, err = new(Opener).Open(t.Context(), d.Profile(mailbox.IMAP, mailbox.Plaintext), "ann", "pw")
	wantFault(t, err, fault.Transient, "connect_refused")
}

func TestOpenWrongCA(t *testing.T) {
	d := mailtest.StartDovecot(t)
	p := d.Profile(mailbox.IMAP, mailbox.ImplicitTLS)
	p.CAFile = mailtest.NewCA(t).File
	_, err := new(Opener).Open(t.Context(), p, "ann", "pw")
	wantFault(t, err, fault.Permanent, "certificate_unknown_authority")
}

func TestList(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	date := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	body := []byte("Subject: x\r\n\r\nhello\r\n")
	uids := d.AppendAll(t, "ann", "Entwürfe & mehr"[:0]+"Work", [][]byte{body, body, body}, date)
	s := connect(t, d, "ann", "pw")
	l, err := s.List(t.Context(), "Work", source.Since{})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	if l.Messages != 3 || len(l.Refs) != 3 || l.Reset || l.UIDNext != uids[2]+1 || l.UIDValidity == 0 {
		t.Fatalf("first listing: got %+v, want 3 messages up to UIDNEXT %d", l, uids[2]+1)
	}
	for i, got := range l.Refs {
		want := source.Ref{Folder: "Work", UIDValidity: l.UIDValidity, UID: uids[i], Octets: int64(len(body)), InternalDate: got.InternalDate}
		if got != want || !got.InternalDate.Equal(date) {
			t.Errorf("ref %d: got %+v, want %+v of %s", i, got, want, date)
		}
	}
	for name, tc := range map[string]struct {
		since source.Since
		want  []uint32
		reset bool
	}{
		"from the second on": {source.Since{UIDValidity: l.UIDValidity, UID: uids[1]}, uids[1:], false},
		"nothing new":        {source.Since{UIDValidity: l.UIDValidity, UID: l.UIDNext}, nil, false},
		"UIDNEXT decreased":  {source.Since{UIDValidity: l.UIDValidity, UID: l.UIDNext + 1}, uids, true},
		"other UIDVALIDITY":  {source.Since{UIDValidity: l.UIDValidity + 1, UID: uids[2]}, uids, true},
		"no cursor":          {source.Since{UID: uids[2]}, uids, false},
	} {
		got, err := s.List(t.Context(), "Work", tc.since)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var gotUIDs []uint32
		for _, ref := range got.Refs {
			gotUIDs = append(gotUIDs, ref.UID)
		}
		if fmt.Sprint(gotUIDs) != fmt.Sprint(tc.want) || got.Reset != tc.reset {
			t.Errorf("%s: got %v and reset %t, want %v and %t", name, gotUIDs, got.Reset, tc.want, tc.reset)
		}
	}
}

func TestListMissingFolder(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	d.Append(t, "ann", "Archive", []byte("Subject: x\r\n\r\n"), time.Time{})
	s := connect(t, d, "ann", "pw")
	_, err := s.List(t.Context(), "Archiv", source.Since{})
	wantFault(t, err, fault.Permanent, "folder_missing")
	if _, _, text, hint := fault.Describe(err); !strings.Contains(text, `"Archiv"`) || !strings.Contains(hint, "Archive, INBOX") {
		t.Errorf("got %q, %q, want the folder's name and those that are there", text, hint)
	}
	_, err = s.List(t.Context(), "a\r\nb", source.Since{})
	wantFault(t, err, fault.Permanent, "folder_name_invalid")
	if _, err := s.List(t.Context(), "Archive", source.Since{}); err != nil {
		t.Errorf("list after refusals: %v", err)
	}
}

func TestListFolderNameNotASCII(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	d.Append(t, "ann", "Entw&APw-rfe &- mehr", []byte("Subject: x\r\n\r\n"), time.Time{})
	l, err := connect(t, d, "ann", "pw").List(t.Context(), "Entwürfe & mehr", source.Since{})
	if err != nil || len(l.Refs) != 1 {
		t.Errorf("got %+v and %v, want one message", l, err)
	}
}

// messages are some that are easily changed on the way.
func messages(t *testing.T) [][]byte {
	t.Helper()
	random := make([]byte, 3<<20) // over what is held in memory
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	for i, c := range random {
		if c == 0 || c == '\n' || c == '\r' {
			random[i] = 'x'
		}
	}
	return [][]byte{
		[]byte("Subject: x\r\n\r\nhello\r\n"),
		[]byte("\r\n"),
		[]byte("Subject: no body\r\n"),
		[]byte("no line end"),
		[]byte("Subject: x\r\n\r\n)\r\nT1 OK done\r\n* BYE\r\n{5}\r\n\"\\\r\n.\r\n"),
		append([]byte("Subject: \xff\xfe\r\n\r\n"), random...),
	}
}

func TestFetchKeepsOctets(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	want := messages(t)
	d.AppendAll(t, "ann", "INBOX", want, time.Time{})
	d.WriteFile(t, "ann", "INBOX", "1.lf", []byte("Subject: bare\n\nLF\n"))
	s := connect(t, d, "ann", "pw")
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	w := d.Plain(t, "ann")
	w.Command("EXAMINE INBOX")
	n := 0
	err = s.Fetch(t.Context(), l.Refs, 64<<20, func(f source.Fetched) error {
		n++
		if f.Err != nil {
			t.Fatalf("uid %d: %v", f.Ref.UID, f.Err)
		}
		defer func() { _ = f.Raw.Close() }()
		if plain := w.Message(f.Ref.UID); !bytes.Equal(f.Raw.Bytes(), plain) {
			t.Errorf("uid %d: got %d octets, want the %d of a plain socket", f.Ref.UID, f.Raw.Octets(), len(plain))
		}
		if i := int(f.Ref.UID) - 1; i < len(want) && !bytes.Equal(f.Raw.Bytes(), want[i]) {
			t.Errorf("uid %d: got %d octets, want the %d that were appended", f.Ref.UID, f.Raw.Octets(), len(want[i]))
		}
		return nil
	})
	if err != nil || n != len(want)+1 {
		t.Errorf("fetch: got %d messages and %v, want %d", n, err, len(want)+1)
	}
	if reply, flags := w.Command("UID FETCH 1:* FLAGS"); strings.Contains(flags, `\Seen`) {
		t.Errorf("flags after a fetch: got %q %s, want none seen", flags, reply)
	}
}

func TestFetchTooLargeAndVanished(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	large := "Subject: large\r\nTo: a@example.org\r\n\r\n" + strings.Repeat("0123456789\r\n", 1000)
	uids := d.AppendAll(t, "ann", "INBOX", [][]byte{[]byte("Subject: a\r\n\r\n"), []byte(large), []byte("Subject: gone\r\n\r\n"), []byte(large)}, time.Time{})
	s := connect(t, d, "ann", "pw")
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil {
		t.Fatal(err)
	}
	w := d.Plain(t, "ann")
	w.Command("SELECT INBOX")
	w.Command(fmt.Sprintf(`UID STORE %d,%d +FLAGS \Deleted`, uids[2], uids[3]))
	w.Command("EXPUNGE")
	got, err := taken(t, s, l.Refs, 1000)
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	want := map[uint32]string{
		uids[0]: `"Subject: a\r\n\r\n"`,
		uids[1]: `"Subject: large\r\nTo: a@example.org\r\n\r\n" too large`,
		uids[2]: "vanished",
		uids[3]: "vanished",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := s.List(t.Context(), "INBOX", source.Since{}); err != nil {
		t.Errorf("list after it: %v", err)
	}
}

func TestFetchStopsWithTake(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	d.AppendAll(t, "ann", "INBOX", slicesRepeat([]byte("Subject: a\r\n\r\n"+strings.Repeat("x", 70000)+"\r\n"), 20), time.Time{})
	s := connect(t, d, "ann", "pw")
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil {
		t.Fatal(err)
	}
	own := errors.New("no more")
	n := 0
	err = s.Fetch(t.Context(), l.Refs, 1<<20, func(f source.Fetched) error { n++; _ = f.Raw.Close(); return own })
	if !errors.Is(err, own) || n != 1 {
		t.Errorf("got %v after %d messages, want its own error after 1", err, n)
	}
	if _, err := s.List(t.Context(), "INBOX", source.Since{}); !errors.Is(err, own) {
		t.Errorf("list after it: got %v, want that the session is over", err)
	}
}

func TestFetchStopsWithContext(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	d.AppendAll(t, "ann", "INBOX", slicesRepeat([]byte("Subject: a\r\n\r\n"+strings.Repeat("x", 70000)+"\r\n"), 20), time.Time{})
	s := connect(t, d, "ann", "pw")
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = s.Fetch(ctx, l.Refs, 1<<20, func(f source.Fetched) error { cancel(); return f.Raw.Close() })
	wantFault(t, err, fault.Stopping, "interrupted")
}

func TestFetchOtherUIDValidity(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	s := connect(t, d, "ann", "pw")
	_, err := taken(t, s, []source.Ref{{Folder: "INBOX", UIDValidity: 1, UID: 1}}, 1000)
	wantFault(t, err, fault.Transient, "uidvalidity_changed")
}

func TestFetchSpoolFails(t *testing.T) {
	d := mailtest.StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	d.AppendAll(t, "ann", "INBOX", messages(t), time.Time{})
	s, err := (&Opener{SpoolDir: "/nowhere"}).Open(t.Context(), d.Profile(mailbox.IMAP, mailbox.Plaintext), "ann", "pw")
	if err != nil {
		t.Fatal(err)
	}
	closeWithTest(t, s)
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = taken(t, s, l.Refs, 64<<20)
	wantFault(t, err, fault.Transient, "spool")
}

func slicesRepeat(b []byte, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = b
	}
	return all
}

func BenchmarkFetch(b *testing.B) {
	d := mailtest.StartDovecot(b)
	d.AddUser(b, "ann", "pw")
	message := []byte("Subject: a\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 150))
	d.AppendAll(b, "ann", "INBOX", slicesRepeat(message, 500), time.Time{})
	for _, mode := range []mailbox.TLSMode{mailbox.Plaintext, mailbox.ImplicitTLS} {
		b.Run(string(mode), func(b *testing.B) {
			s, err := new(Opener).Open(b.Context(), d.Profile(mailbox.IMAP, mode), "ann", "pw")
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close(b.Context()) }()
			l, err := s.List(b.Context(), "INBOX", source.Since{})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(message) * len(l.Refs)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Fetch(b.Context(), l.Refs, 1<<20, func(f source.Fetched) error { return f.Raw.Close() }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A server that accepts and says nothing costs the time-out of one step, in each step.
func TestSilentServer(t *testing.T) {
	for name, s := range map[string]script{
		"AUTHENTICATE":               {"AUTHENTICATE": "HANG"},
		"CAPABILITY":                 {"CAPABILITY": "HANG"},
		"BAD without a tagged reply": {"AUTHENTICATE": "* BAD [ALERT] Please enable IMAP\r\nHANG"},
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, func(c net.Conn) { s.run(c, greeting) })
			p.Timeout = 100 * time.Millisecond
			_, err := new(Opener).Open(t.Context(), p, "ann", "pw")
			wantFault(t, err, fault.Transient, "deadline")
			if strings.HasPrefix(name, "BAD") && !strings.Contains(err.Error(), "Please enable IMAP") {
				t.Errorf("got %v, want the server's words", err)
			}
		})
	}
	t.Run("greeting", func(t *testing.T) {
		p := listen(t, func(c net.Conn) { script{}.run(c, "HANG"[:0]) })
		p.Timeout = 100 * time.Millisecond
		_, err := new(Opener).Open(t.Context(), p, "ann", "pw")
		wantFault(t, err, fault.Transient, "deadline")
	})
}
