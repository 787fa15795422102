package imap

import (
	"fmt"
	"testing"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// A message is gone only if the folder, opened once more, is the one that it was listed in.
func TestVanishedOnlyInTheSameFolder(t *testing.T) {
	const ok = "TAG OK done\r\n"
	gone := script{"UID FETCH 11": ok, "UID SEARCH UID 11": "* SEARCH\r\n" + ok}
	for name, tc := range map[string]struct {
		second string // what EXAMINE is answered with when the folder is opened again
		want   string
		class  fault.Class
		code   string
	}{
		"as it was":           {"* OK [UIDVALIDITY 9] ok\r\n* OK [UIDNEXT 12] ok\r\n" + ok, "map[11:vanished]", "", ""},
		"without UIDNEXT":     {"* OK [UIDVALIDITY 9] ok\r\n" + ok, "map[11:vanished]", "", ""},
		"UIDNEXT went back":   {"* OK [UIDVALIDITY 9] ok\r\n* OK [UIDNEXT 11] ok\r\n" + ok, "map[]", fault.Transient, "presence_unclear"},
		"another UIDVALIDITY": {"* OK [UIDVALIDITY 10] ok\r\n* OK [UIDNEXT 12] ok\r\n" + ok, "map[]", fault.Transient, "uidvalidity_changed"},
		"cannot be opened":    {"TAG NO [UNAVAILABLE] x\r\n", "map[]", fault.Transient, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual(gone)
			s["EXAMINE"] += "|" + tc.second
			session := scripted(t, s)
			got, err := taken(t, session, []source.Ref{ref(11, 5)}, 1000)
			if fmt.Sprint(got) != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
			if class, code, text, _ := fault.Describe(err); class != tc.class || code != tc.code {
				t.Errorf("error: got %s %s (%s), want %s %s", class, code, text, tc.class, tc.code)
			}
			if session.over != nil {
				t.Errorf("the session is over: %v", session.over)
			}
		})
	}
}

// What is listed illegibly has neither size nor date, and is fetched like any other.
func TestIllegibleIsFetched(t *testing.T) {
	s := scripted(t, usual(script{
		"UID FETCH 1:11 ":     "* 1 FETCH (UID {1}\r\nx RFC822.SIZE 5\r\n* 2 FETCH (UID 11 RFC822.SIZE 5)\r\nTAG OK x\r\n",
		"UID SEARCH UID 1:11": "* SEARCH 10 11\r\nTAG OK x\r\n",
		"UID FETCH 10:11 ":    "* 1 FETCH (UID 10 BODY[] {5}\r\nhello)\r\n* 2 FETCH (UID 11 BODY[] {5}\r\nworld)\r\nTAG OK x\r\n",
	}))
	l, err := s.List(t.Context(), "INBOX", source.Since{})
	if err != nil {
		t.Fatal(err)
	}
	want := []source.Ref{ref(10, 0), ref(11, 5)}
	if fmt.Sprint(l.Refs) != fmt.Sprint(want) {
		t.Fatalf("listed: got %v, want %v", l.Refs, want)
	}
	got, err := taken(t, s, l.Refs, 1000)
	if want := `map[10:"hello" 11:"world"]`; err != nil || fmt.Sprint(got) != want {
		t.Errorf("fetched: got %v and %v, want %s", got, err, want)
	}
}

// Without a result of SEARCH nobody knows what others have marked: nothing may be expunged.
func TestExpungeNeedsAResultOfSearch(t *testing.T) {
	p := usual(script{
		"CAPABILITY":     "* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nTAG OK x\r\n",
		"UID FETCH 10 (": "* 1 FETCH (UID 10)\r\nTAG OK x\r\n",
		"UID STORE":      "TAG NO [SERVERBUG] must not be asked\r\n",
		"EXPUNGE":        "TAG NO [SERVERBUG] must not be asked\r\n",
	})
	got, err := disposed(t, scripted(t, p), source.Order{ReceiptID: 1, Ref: ref(10, 5), Action: source.Delete})
	if want := "map[1: search_unanswered]"; err != nil || got != want {
		t.Errorf("got %s and %v, want %s", got, err, want)
	}
}
