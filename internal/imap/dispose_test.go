package imap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/source"
)

// disposed carries out orders and returns what came of them, by receipt, in short.
func disposed(t *testing.T, s *Session, orders ...source.Order) (string, error) {
	t.Helper()
	answers, err := s.Dispose(t.Context(), orders)
	if len(answers) != len(orders) {
		t.Fatalf("got %d answers, want %d", len(answers), len(orders))
	}
	short := make(map[int64]string)
	for _, a := range answers {
		short[a.ReceiptID] = string(a.Done)
		if a.Err != nil {
			_, code, _, _ := fault.Describe(a.Err)
			short[a.ReceiptID] += " " + code
		}
	}
	return fmt.Sprint(short), err
}

// uidsIn returns the UIDs that a folder of a Dovecot has, or why it cannot be opened.
func uidsIn(t *testing.T, d *mailtest.Dovecot, folder string) string {
	t.Helper()
	w := d.Plain(t, "ann")
	defer w.Close()
	if reply, _ := w.Command(fmt.Sprintf("EXAMINE %q", folder)); !strings.HasPrefix(reply, "OK") {
		return reply
	}
	_, found := w.Command("UID SEARCH ALL")
	return strings.TrimSpace(strings.TrimPrefix(found, "* SEARCH"))
}

// filled returns a Dovecot with some messages in INBOX, and their refs.
func filled(t *testing.T, n int, config ...string) (*mailtest.Dovecot, *Session, []source.Ref) {
	t.Helper()
	d := mailtest.StartDovecot(t, config...)
	d.AddUser(t, "ann", "pw")
	for i := range n {
		d.WriteFile(t, "ann", "INBOX", fmt.Sprintf("%06d.x", i), []byte("Subject: x\r\n\r\n"))
	}
	s := connect(t, d, "ann", "pw")
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil || len(l.Refs) != n {
		t.Fatalf("list: got %+v and %v, want %d messages", l, err, n)
	}
	return d, s, l.Refs
}

func TestDispose(t *testing.T) {
	d, s, refs := filled(t, 6)
	gone, other := refs[5], refs[0]
	gone.UID += 10
	other.UIDValidity++
	got, err := disposed(t, s,
		source.Order{ReceiptID: 1, Ref: refs[0], Action: source.Delete},
		source.Order{ReceiptID: 2, Ref: refs[2], Action: source.Delete},
		source.Order{ReceiptID: 3, Ref: refs[3], Action: source.Move, Target: "Done"},
		source.Order{ReceiptID: 4, Ref: refs[4], Action: source.Move, Target: "Done"},
		source.Order{ReceiptID: 5, Ref: gone, Action: source.Delete},
		source.Order{ReceiptID: 6, Ref: other, Action: source.Delete},
		source.Order{ReceiptID: 7, Ref: refs[1], Action: source.Move, Target: "a\nb"},
		source.Order{ReceiptID: 8, Ref: refs[1], Action: source.Move, Target: "INBOX"},
		source.Order{ReceiptID: 9, Ref: refs[1], Action: "burn"},
		source.Order{ReceiptID: 10, Ref: source.Ref{Folder: "None", UIDValidity: 1, UID: 1}, Action: source.Delete},
	)
	if err != nil {
		t.Fatalf("dispose: %v", err)
	}
	want := "map[1:done 2:done 3:done 4:done 5:gone 6: uidvalidity_changed 7: folder_name_invalid 8: folder_name_invalid 9: action_unknown 10: folder_missing]"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := uidsIn(t, d, "INBOX"); got != "2 6" {
		t.Errorf("INBOX: got %q, want 2 6", got)
	}
	if got := uidsIn(t, d, "Done"); got != "1 2" {
		t.Errorf("Done: got %q, want two messages", got)
	}
}

// Others' deleted messages stay, with UIDPLUS.
func TestDisposeLeavesOthers(t *testing.T) {
	d, s, refs := filled(t, 3)
	mark(t, d, refs[1].UID)
	got, err := disposed(t, s, source.Order{ReceiptID: 1, Ref: refs[0], Action: source.Delete})
	if err != nil || got != "map[1:done]" {
		t.Errorf("got %s and %v, want it done", got, err)
	}
	if got := uidsIn(t, d, "INBOX"); got != "2 3" {
		t.Errorf("INBOX: got %q, want 2 3", got)
	}
}

// mark marks a message as deleted, as another client does.
func mark(t *testing.T, d *mailtest.Dovecot, uid uint32) {
	t.Helper()
	w := d.Plain(t, "ann")
	defer w.Close()
	w.Command("SELECT INBOX")
	if reply, _ := w.Command(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, uid)); !strings.HasPrefix(reply, "OK") {
		t.Fatalf("mark uid %d: %s", uid, reply)
	}
}

func TestDisposeWithoutUIDPLUS(t *testing.T) {
	d, s, refs := filled(t, 3, "imap_capability = IMAP4rev1 SASL-IR")
	got, err := disposed(t, s, source.Order{ReceiptID: 1, Ref: refs[0], Action: source.Delete})
	if err != nil || got != "map[1:done]" {
		t.Errorf("nobody else: got %s and %v, want it done", got, err)
	}
	mark(t, d, refs[1].UID)
	got, err = disposed(t, s, source.Order{ReceiptID: 1, Ref: refs[2], Action: source.Delete})
	if err != nil || got != "map[1: expunge_unsafe]" {
		t.Errorf("another's mark: got %s and %v, want expunge_unsafe", got, err)
	}
	if got := uidsIn(t, d, "INBOX"); got != "2 3" {
		t.Errorf("INBOX: got %q, want 2 3", got)
	}
	got, err = disposed(t, s, // one that was marked before, and not come to be expunged, is ours
		source.Order{ReceiptID: 1, Ref: refs[1], Action: source.Delete},
		source.Order{ReceiptID: 2, Ref: refs[2], Action: source.Delete})
	if err != nil || got != "map[1:done 2:done]" {
		t.Errorf("all ours: got %s and %v, want both done", got, err)
	}
}

func TestDisposeWithoutMOVE(t *testing.T) {
	d, s, refs := filled(t, 2, "imap_capability = IMAP4rev1 SASL-IR UIDPLUS")
	order := source.Order{ReceiptID: 1, Ref: refs[0], Action: source.Move, Target: "Done"}
	got, err := disposed(t, s, order)
	if err != nil || got != "map[1:copied]" {
		t.Fatalf("first: got %s and %v, want it copied", got, err)
	}
	if got := uidsIn(t, d, "INBOX"); got != "1 2" {
		t.Errorf("INBOX after the copy: got %q, want 1 2", got)
	}
	order.Copied = true
	if got, err = disposed(t, s, order); err != nil || got != "map[1:done]" {
		t.Errorf("then: got %s and %v, want it done", got, err)
	}
	if inbox, done := uidsIn(t, d, "INBOX"), uidsIn(t, d, "Done"); inbox != "2" || done != "1" {
		t.Errorf("folders: got %q and %q, want 2 and one copy", inbox, done)
	}
}

func TestDisposeMany(t *testing.T) {
	_, s, refs := filled(t, 1200)
	orders := make([]source.Order, len(refs))
	for i, ref := range refs {
		orders[i] = source.Order{ReceiptID: int64(i + 1), Ref: ref, Action: source.Delete}
		if i%2 == 0 { // sets without ranges are the longest
			orders[i].Action, orders[i].Target = source.Move, "Done"
		}
	}
	answers, err := s.Dispose(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if a.Done != source.DoneYes || a.Err != nil {
			t.Fatalf("receipt %d: got %q and %v, want done", a.ReceiptID, a.Done, a.Err)
		}
	}
}

func TestDisposeAnswers(t *testing.T) {
	const here = "* 1 FETCH (UID 10)\r\nTAG OK x\r\n"
	remove := source.Order{ReceiptID: 1, Ref: ref(10, 5), Action: source.Delete}
	move := source.Order{ReceiptID: 1, Ref: ref(10, 5), Action: source.Move, Target: "Done"}
	const bad = "TAG NO [SERVERBUG] must not be asked\r\n"
	date := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	dated := func(o source.Order) source.Order { o.Ref.InternalDate = date; return o }
	on := func(d time.Time) string {
		return "* 1 FETCH (UID 10 INTERNALDATE \"" + d.Format("_2-Jan-2006 15:04:05 -0700") + "\")\r\nTAG OK x\r\n"
	}
	for name, tc := range map[string]struct {
		script script
		order  source.Order
		want   string
		code   string // of the session's error
	}{
		"still there":           {script{"UID FETCH 10 (": here}, remove, "map[1: still_there]", ""},
		"STORE refused":         {script{"UID FETCH 10 (": here, "UID STORE": "TAG NO [NOPERM] no\r\n"}, remove, "map[1: no_permission]", ""},
		"EXPUNGE refused":       {script{"UID FETCH 10 (": here, "UID EXPUNGE": "TAG NO no\r\n"}, remove, "map[1: refused]", ""},
		"MOVE refused":          {script{"UID FETCH 10 (": here, "UID MOVE": "TAG NO [OVERQUOTA] full\r\n"}, move, "map[1: over_quota]", ""},
		"no target, no CREATE":  {script{"UID FETCH 10 (": here, "UID MOVE": "TAG NO [TRYCREATE] no\r\n", "CREATE": "TAG NO [CANNOT] no\r\n"}, move, "map[1: target_folder_missing]", ""},
		"odd COPYUID":           {script{"UID FETCH 10 (": here, "UID MOVE": "* OK [COPYUID 1 * *] x\r\nTAG OK [COPYUID 1 10 *] x\r\n"}, move, "map[1: still_there]", ""},
		"SELECT refused":        {script{"SELECT": "TAG NO [INUSE] x\r\n"}, remove, "map[1: in_use]", ""},
		"closed in EXPUNGE":     {script{"UID FETCH 10 (": here, "UID EXPUNGE": "CLOSE"}, remove, "map[1: closed_by_server]", "closed_by_server"},
		"closed in MOVE":        {script{"UID FETCH 10 (": here, "UID MOVE": "* BYE x\r\nCLOSE"}, move, "map[1: server_bye]", "server_bye"},
		"a UID-less answer":     {script{"UID FETCH 10 (": "* 1 FETCH (FLAGS ())\r\nTAG OK x\r\n"}, remove, "map[1: presence_unclear]", ""},
		"unclear afterwards":    {script{"UID FETCH 10 (UID INTERNALDATE)": here, "UID FETCH 10 (UID)": "* 1 FETCH (UID\r\nTAG OK x\r\n"}, remove, "map[1: presence_unclear]", ""},
		"the same date":         {script{"UID FETCH 10 (UID INTERNALDATE)": on(date)}, dated(remove), "map[1:done]", ""},
		"the same in UTC":       {script{"UID FETCH 10 (UID INTERNALDATE)": on(date.UTC())}, dated(remove), "map[1:done]", ""},
		"another date":          {script{"UID FETCH 10 (": on(date.Add(time.Second)), "UID STORE": bad, "UID EXPUNGE": bad}, dated(remove), "map[1:gone another_message]", ""},
		"another date, move":    {script{"UID FETCH 10 (": on(date.Add(-time.Hour)), "UID MOVE": bad, "UID COPY": bad}, dated(move), "map[1:gone another_message]", ""},
		"no date any more":      {script{"UID FETCH 10 (": here, "UID STORE": bad}, dated(remove), "map[1: presence_unclear]", ""},
		"date was not known":    {script{"UID FETCH 10 (UID INTERNALDATE)": on(date)}, remove, "map[1:done]", ""},
		"gone before":           {script{"UID FETCH 10 (": "TAG OK x\r\n"}, move, "map[1:gone]", ""},
		"looking for it failed": {script{"UID FETCH 10 (": "TAG NO [UNAVAILABLE] x\r\n"}, move, "map[1: unavailable]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := disposed(t, scripted(t, usual(tc.script)), tc.order)
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if _, code, text, _ := fault.Describe(err); code != tc.code {
				t.Errorf("error: got %s (%s), want %q", code, text, tc.code)
			}
		})
	}
}

// Capabilities that change after the log-in must not turn MOVE into the library's COPY and bare EXPUNGE.
func TestDisposeNeverFallsBackToBareExpunge(t *testing.T) {
	s := scripted(t, usual(script{
		"SELECT":         "* CAPABILITY IMAP4rev1\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 9]\r\nTAG OK [CAPABILITY IMAP4rev1] x\r\n",
		"UID FETCH 10 (": "* 1 FETCH (UID 10)\r\nTAG OK x\r\n",
		"UID MOVE":       "TAG NO moved nothing\r\n",
		"UID COPY":       "TAG NO [SERVERBUG] must not be asked\r\n",
		"EXPUNGE":        "TAG NO [SERVERBUG] must not be asked\r\n",
		"CREATE":         "TAG NO it exists\r\n",
	}))
	got, err := disposed(t, s, source.Order{ReceiptID: 1, Ref: ref(10, 5), Action: source.Move, Target: "Done"})
	if err != nil || got != "map[1: refused]" {
		t.Errorf("got %s and %v, want the refusal of MOVE", got, err)
	}
}
