package imap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// What servers say unasked, or more than was asked, must not end a session.
func TestSessionSurvives(t *testing.T) {
	for name, extra := range map[string]string{
		"unknown response":         "* XYZZY 1\r\n",
		"VANISHED":                 "* VANISHED 300:310\r\n",
		"LSUB":                     "* LSUB () \"/\" x\r\n",
		"LSUB with literal":        "* LSUB () \"/\" {3}\r\na\r\n\r\n",
		"warning":                  "* NO [ALERT] quota 98%\r\n",
		"BAD":                      "* BAD what\r\n",
		"OK without text":          "* OK\r\n",
		"empty code":               "* OK [] odd\r\n",
		"code that does not end":   "* OK [XCODE odd\r\n",
		"malformed UIDNEXT":        "* OK [UIDNEXT x] y\r\n",
		"malformed PERMANENTFLAGS": "* OK [PERMANENTFLAGS \\*] x\r\n* FLAGS x\r\n",
		"blank line":               "\r\n",
		"state of a folder":        "* 5 EXISTS\r\n* 3 EXPUNGE\r\n* 1 RECENT\r\n* 1 FETCH (FLAGS (\\Seen))\r\n",
		"capabilities":             "* CAPABILITY X\r\n",
		"body nobody asked for":    "* 1 FETCH (UID 70 BODY[] {5}\r\nhello)\r\n",
		"structure with literal":   "* 1 FETCH (BODYSTRUCTURE ((\"text\" {5}\r\nplain)))\r\n",
		"search, list":             "* SEARCH x\r\n* LIST bad\r\n* ESEARCH (TAG \"x\") UID\r\n* STATUS x (y)\r\n",
		"huge number of messages":  "* 99999999999999999999 EXISTS\r\n",
		"thousand of them":         strings.Repeat("* XYZZY\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			s := scripted(t, usual(script{
				"LIST":             extra + "TAG OK done\r\n",
				"EXAMINE":          extra + "* 2 EXISTS\r\n* OK [UIDVALIDITY 9] ok\r\n* OK [UIDNEXT 12] ok\r\n" + extra + "TAG OK done\r\n" + extra,
				"UID FETCH 1:11 ":  extra + "* 1 FETCH (UID 10 RFC822.SIZE 5)\r\n* 2 FETCH (UID 11 RFC822.SIZE 5)\r\nTAG OK done\r\n",
				"UID FETCH 10:11 ": extra + "* 1 FETCH (UID 10 BODY[] {5}\r\nhello)\r\n* 2 FETCH (UID 11 BODY[] {5}\r\nworld)\r\nTAG OK done\r\n",
			}))
			l, err := s.List(t.Context(), "INBOX", source.Since{})
			if err != nil || len(l.Refs) != 2 || l.UIDNext != 12 || l.UIDValidity != 9 {
				t.Fatalf("list: got %+v and %v, want 2 messages", l, err)
			}
			got, err := taken(t, s, l.Refs, 1000)
			if want := `map[10:"hello" 11:"world"]`; err != nil || fmt.Sprint(got) != want {
				t.Errorf("fetch: got %v and %v, want %s", got, err, want)
			}
		})
	}
}

// flood writes c until the connection ends, 256 MB at most.
func flood(start string, c byte) func(net.Conn, string) {
	return func(conn net.Conn, tag string) {
		_, _ = io.WriteString(conn, strings.ReplaceAll(start, "TAG", tag))
		chunk := bytes.Repeat([]byte{c}, 1<<16)
		for range 4096 {
			if _, err := conn.Write(chunk); err != nil {
				return
			}
		}
	}
}

// A server that floods must cost neither memory nor the process, whatever command it answers.
func TestFlood(t *testing.T) {
	for name, attack := range map[string]func(net.Conn, string){
		"atom":           flood("* ", 'A'),
		"quoted string":  flood("* 1 FETCH (UID 7 ENVELOPE (\"", 'A'),
		"nested lists":   flood("* 1 FETCH (UID 7 BODYSTRUCTURE ", '('),
		"literal":        flood("* 1 FETCH (UID 10 BODY[] {9000000000000000000}\r\n", 'x'),
		"unknown":        flood("* XYZZY {9000000000000000000}\r\n", 'x'),
		"blank lines":    flood("", '\n'),
		"numbers":        flood("* SEARCH", '1'),
		"tagged":         flood("TAG OK ", 'x'),
		"continuation":   flood("+ ", 'x'),
		"alert":          flood("* NO [ALERT] ", 'x'),
		"code":           flood("* OK [", 'x'),
		"folder literal": flood("* LIST () \".\" {90000000}\r\n", 'x'),
	} {
		for _, command := range []string{"EXAMINE", "UID FETCH 1:11 ", "UID FETCH 10 "} {
			t.Run(name+" to "+command, func(t *testing.T) {
				list := usual(script{"UID FETCH 1:11 ": "* 1 FETCH (UID 10 RFC822.SIZE 5)\r\nTAG OK done\r\n"})
				p := listen(t, func(c net.Conn) { attackOn(c, list, command, attack) })
				s, err := new(Opener).Open(t.Context(), p, "ann", "pw")
				if err != nil {
					t.Fatalf("open: %v", err)
				}
				closeWithTest(t, s)
				l, err := s.List(t.Context(), "INBOX", source.Since{})
				if err == nil {
					_, err = taken(t, s, l.Refs, 1000)
				}
				if err == nil || fault.ClassOf(err) != fault.Transient {
					t.Errorf("got %v, want a transient fault", err)
				}
				if len(err.Error()) > 1000 {
					t.Errorf("error of %d octets, want a short one", len(err.Error()))
				}
			})
		}
	}
}

// attackOn speaks s, but answers one command with an attack.
func attackOn(c net.Conn, s script, command string, attack func(net.Conn, string)) {
	if _, err := io.WriteString(c, greeting); err != nil {
		return
	}
	b := make([]byte, 1)
	var line []byte
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
		if line = append(line, b[0]); b[0] != '\n' {
			continue
		}
		tag, cmd, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		line = line[:0]
		if strings.HasPrefix(cmd, command) {
			attack(c, tag)
			return
		}
		_, _ = io.WriteString(c, strings.ReplaceAll(s.answer(cmd), "TAG", tag))
	}
}

// What a server answers to a fetch, and what becomes of the two messages asked for.
func TestFetchAnswers(t *testing.T) {
	const both = "UID FETCH 10:11 "
	find := func(uid, number int) (string, string) {
		return fmt.Sprintf("UID FETCH %d (UID)", uid), fmt.Sprintf("* %d FETCH (UID %d)\r\nTAG OK done\r\n", number, uid)
	}
	with := func(pairs ...string) script {
		s := script{}
		for i := 0; i < len(pairs); i += 2 {
			s[pairs[i]] = pairs[i+1]
		}
		f10, a10 := find(10, 1)
		f11, a11 := find(11, 2)
		for _, p := range [][2]string{{f10, a10}, {f11, a11}} {
			if _, set := s[p[0]]; !set {
				s[p[0]] = p[1]
			}
		}
		return usual(s)
	}
	const ok = "TAG OK done\r\n"
	const ten = "* 1 FETCH (UID 10 BODY[] {5}\r\nhello)\r\n"
	for name, tc := range map[string]struct {
		script script
		want   string // of what take got
		code   string // of the error; "" for none
	}{
		"good":                   {with(both, ten+"* 2 FETCH (UID 11 BODY[] {5}\r\nworld)\r\n"+ok), `map[10:"hello" 11:"world"]`, ""},
		"other order and case":   {with(both, "* 2 fetch (body[] {5}\r\nworld uid 11)\r\n"+ten+ok, "FETCH 2 ", "* 2 FETCH (BODY[] {5}\r\nworld UID 11)\r\n"+ok), `map[10:"hello" 11:"world"]`, ""},
		"unknown items":          {with(both, "* 1 FETCH (X-GM-MSGID 123 UID 10 MODSEQ (4) BODY[] {5}\r\nhello FLAGS ())\r\n* 2 FETCH (UID 11 BODY[] \"world\")\r\n"+ok), `map[10:"hello" 11:"world"]`, ""},
		"answered twice":         {with(both, ten+ten+"* 2 FETCH (UID 11 BODY[] {1}\r\nw)\r\n"+ok), `map[10:"hello" 11:"w"]`, ""},
		"another one too":        {with(both, ten+"* 3 FETCH (UID 12 BODY[] {3}\r\nbad)\r\n* 2 FETCH (UID 11 BODY[] {1}\r\nw)\r\n"+ok), `map[10:"hello" 11:"w"]`, ""},
		"one not delivered":      {with(both, ten+ok, "FETCH 2 ", ok), `map[10:"hello" 11:poison not_delivered]`, ""},
		"delivered when alone":   {with(both, ten+ok, "FETCH 2 ", "* 2 FETCH (UID 11 BODY[] {5}\r\nworld)\r\n"+ok), `map[10:"hello" 11:"world"]`, ""},
		"another when alone":     {with(both, ten+ok, "FETCH 2 ", "* 2 FETCH (UID 12 BODY[] {5}\r\nworld)\r\n"+ok), `map[10:"hello" 11:poison not_delivered]`, ""},
		"vanished":               {with(both, ten+ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 11", "* SEARCH\r\n"+ok), `map[10:"hello" 11:vanished]`, ""},
		"both vanished":          {with(both, ok, "UID FETCH 10 (UID)", ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 10:11", "* SEARCH\r\n"+ok), `map[10:vanished 11:vanished]`, ""},
		"not found, not said so": {with(both, ten+ok, "UID FETCH 11 (UID)", ok), `map[10:"hello"]`, "search_unanswered"},
		"not shown, but found":   {with(both, ten+ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 11", "* SEARCH 11\r\n"+ok), `map[10:"hello" 11:poison not_delivered]`, ""},
		"SEARCH refused":         {with(both, ten+ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 11", "TAG NO [UNAVAILABLE] x\r\n"), `map[10:"hello"]`, "unavailable"},
		"SEARCH finds another":   {with(both, ten+ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 11", "* SEARCH 10 12\r\n"+ok), `map[10:"hello" 11:vanished]`, ""},
		"always illegible":       {with(both, ten+"* 2 FETCH (UID x BODY[] {1}\r\nw)\r\n"+ok, "UID FETCH 11 (UID)", "* 2 FETCH (UID x)\r\n"+ok, "UID SEARCH UID 11", "* SEARCH 11\r\n"+ok), `map[10:"hello" 11:poison not_delivered]`, ""},
		"illegible, not found":   {with(both, ten+ok, "UID FETCH 11 (UID)", "* 2 FETCH (UID x)\r\n"+ok, "UID SEARCH UID 11", "* SEARCH\r\n"+ok), `map[10:"hello"]`, "presence_unclear"},
		"too large and vanished": {with(both, ten+"* 2 FETCH (UID 11 BODY[] {2000}\r\n"+strings.Repeat("x", 2000)+")\r\n"+ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 11", "* SEARCH\r\n"+ok), `map[10:"hello" 11:vanished]`, ""},
		"too large, found":       {with(both, ten+"* 2 FETCH (UID 11 BODY[] {2000}\r\n"+strings.Repeat("x", 2000)+")\r\n"+ok, "UID FETCH 11 (UID)", ok, "UID SEARCH UID 11", "* SEARCH 11\r\n"+ok), `map[10:"hello" 11:too large]`, ""},
		"NIL":                    {with(both, ten+"* 2 FETCH (UID 11 BODY[] NIL)\r\n"+ok, "FETCH 2 ", "* 2 FETCH (UID 11 BODY[] NIL)\r\n"+ok), `map[10:"hello" 11:poison no_octets]`, ""},
		"empty":                  {with(both, ten+"* 2 FETCH (UID 11 BODY[] {0}\r\n)\r\n"+ok, "FETCH 2 ", "* 2 FETCH (UID 11 BODY[] \"\")\r\n"+ok), `map[10:"hello" 11:poison no_octets]`, ""},
		"NO for one":             {with(both, ten+"TAG NO [SERVERBUG] cannot read\r\n", "FETCH 2 ", "TAG NO cannot read\r\n"), `map[10:"hello" 11:poison not_delivered]`, ""},
		"NO for the moment":      {with(both, "TAG NO [UNAVAILABLE] later\r\n"), `map[]`, "unavailable"},
		"BAD for all":            {with(both, "TAG BAD no folder\r\n", "UID FETCH 10 (UID)", "TAG BAD no folder\r\n"), `map[]`, "refused"},
		"malformed one":          {with(both, ten+"* 2 FETCH UID 11\r\n"+ok, "FETCH 2 ", ok), `map[10:"hello" 11:poison not_delivered]`, ""},
		"longer than listed":     {with(both, ten+"* 2 FETCH (UID 11 BODY[] {2000}\r\n"+strings.Repeat("x", 2000)+")\r\n"+ok, "UID FETCH 11 (UID BODY.PEEK[HEADER]<0.", "* 2 FETCH (UID 11 BODY[HEADER]<0> {3}\r\nA:b)\r\n"+ok), `map[10:"hello" 11:"A:b" too large]`, ""},
		"no header of it":        {with(both, ten+"* 2 FETCH (UID 11 BODY[] {2000}\r\n"+strings.Repeat("x", 2000)+")\r\n"+ok, "UID FETCH 11 (UID BODY.PEEK[HEADER]<0.", "TAG NO never\r\n"), `map[10:"hello" 11:too large]`, ""},
		"far longer than listed": {with(both, ten+"* 2 FETCH (UID 11 BODY[] {2000000000}\r\n"+strings.Repeat("x", 500000)+"CLOSE"), `map[10:"hello" 11:too large]`, "octet_budget"},
		"cut in the literal":     {with(both, ten+"* 2 FETCH (UID 11 BODY[] {1000}\r\nabcCLOSE"), `map[10:"hello"]`, "closed_by_server"},
		"cut after the literal":  {with(both, ten+"* 2 FETCH (UID 11 BODY[] {3}\r\nabcCLOSE"), `map[10:"hello" 11:"abc"]`, "closed_by_server"},
		"cut before the end":     {with(both, ten+"CLOSE"), `map[10:"hello"]`, "closed_by_server"},
		"BYE":                    {with(both, ten+"* BYE [UNAVAILABLE] going down\r\nCLOSE"), `map[10:"hello"]`, "unavailable"},
		"malformed after it":     {with(both, ten+"* 2 FETCH (UID 11 BODY[] {3}\r\nabc UID\r\n"), `map[10:"hello" 11:"abc"]`, "protocol_error"},
		"unknown tag":            {with(both, ten+"X9 OK done\r\n"), `map[10:"hello"]`, "protocol_error"},
		"stray continuation":     {with(both, ten+"+ go on\r\n"), `map[10:"hello"]`, "protocol_error"},
		"flags while looking":    {with(both, ten+ok, "UID FETCH 11 (UID)", "* 2 FETCH (FLAGS (\\Seen))\r\n"+ok, "UID SEARCH UID 11", "* SEARCH\r\n"+ok), `map[10:"hello"]`, "presence_unclear"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scripted(t, tc.script)
			got, err := taken(t, s, []source.Ref{ref(10, 5), ref(11, 5)}, 1000)
			if tc.code != "" {
				if _, code, text, _ := fault.Describe(err); code != tc.code {
					t.Errorf("error: got %s (%s), want %s", code, text, tc.code)
				}
			} else if err != nil {
				t.Errorf("error: got %v, want none", err)
			}
			// A literal that came whole is good, whatever comes after it; one that was cut is never handed over.
			if g := fmt.Sprint(got); g != tc.want && (tc.code == "" || g != "map[]") {
				t.Errorf("taken: got %s, want %s", g, tc.want)
			}
		})
	}
}

// A literal that drips must end with its operation, not with the library's five minutes.
func TestFetchDripping(t *testing.T) {
	stop := make(chan struct{})
	p := listen(t, func(c net.Conn) {
		attackOn(c, usual(nil), "UID FETCH", func(c net.Conn, _ string) {
			_, _ = io.WriteString(c, "* 1 FETCH (UID 10 BODY[] {500}\r\n")
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
				}
			}
		})
	})
	defer close(stop)
	p.Timeout = 200 * time.Millisecond
	s, err := new(Opener).Open(t.Context(), p, "ann", "pw")
	if err != nil {
		t.Fatal(err)
	}
	closeWithTest(t, s)
	_, err = taken(t, s, []source.Ref{ref(10, 500)}, 1000)
	wantFault(t, err, fault.Transient, "deadline")
}

func TestListAnswers(t *testing.T) {
	examine := func(lines string) script { return usual(script{"EXAMINE": lines + "TAG OK done\r\n"}) }
	const all = "UID FETCH 1:11 "
	for name, tc := range map[string]struct {
		script script
		since  source.Since
		want   string // UIDs
		code   string
	}{
		"in any order, once":  {usual(script{all: "* 2 FETCH (UID 11)\r\n* 1 FETCH (UID 10)\r\n* 1 FETCH (UID 10)\r\n* 3 FETCH (UID 12)\r\nTAG OK x\r\n"}), source.Since{}, "[10 11]", ""},
		"no UIDNEXT":          {usual(script{"EXAMINE": "* 2 EXISTS\r\n* OK [UIDVALIDITY 9]\r\nTAG OK x\r\n", "UID FETCH 5:*": "* 1 FETCH (UID 4)\r\n* 2 FETCH (UID 6)\r\nTAG OK x\r\n"}), source.Since{UIDValidity: 9, UID: 5}, "[6]", ""},
		"the last is below":   {usual(script{"EXAMINE": "* 2 EXISTS\r\n* OK [UIDVALIDITY 9]\r\nTAG OK x\r\n", "UID FETCH 5:*": "* 2 FETCH (UID 4)\r\nTAG OK x\r\n"}), source.Since{UIDValidity: 9, UID: 5}, "[]", ""},
		"without UID":         {usual(script{all: "* 1 FETCH (RFC822.SIZE 4)\r\n* 2 FETCH (UID 11)\r\nTAG OK x\r\n", "UID SEARCH UID 1:11": "* SEARCH 10 11\r\nTAG OK x\r\n"}), source.Since{}, "[10 11]", ""},
		"illegible":           {usual(script{all: "* 1 FETCH (UID\r\n* 2 FETCH (UID 11)\r\nTAG OK x\r\n", "UID SEARCH UID 1:11": "* SEARCH 11 10 12\r\nTAG OK x\r\n"}), source.Since{}, "[10 11]", ""},
		"an odd UID":          {usual(script{all: "* 1 FETCH (UID x)\r\n* 2 FETCH (UID 11)\r\nTAG OK x\r\n", "UID SEARCH UID 1:11": "* SEARCH 10 11\r\nTAG OK x\r\n"}), source.Since{}, "[10 11]", ""},
		"a date alone":        {usual(script{all: "* 1 FETCH (INTERNALDATE \"x\")\r\nTAG OK x\r\n", "UID SEARCH UID 1:11": "* SEARCH 10\r\nTAG OK x\r\n"}), source.Since{}, "[10]", ""},
		"illegible, no UIDs":  {usual(script{"EXAMINE": "* 2 EXISTS\r\n* OK [UIDVALIDITY 9]\r\nTAG OK x\r\n", "UID FETCH 5:*": "* 2 FETCH (UID\r\nTAG OK x\r\n", "UID SEARCH UID 5:*": "* SEARCH 4\r\nTAG OK x\r\n"}), source.Since{UIDValidity: 9, UID: 5}, "[]", ""},
		"flags meanwhile":     {usual(script{all: "* 1 FETCH (FLAGS ())\r\n* 2 FETCH (UID 11)\r\nTAG OK x\r\n", "UID SEARCH": "TAG NO x\r\n"}), source.Since{}, "[11]", ""},
		"illegible, NO":       {usual(script{all: "* 1 FETCH (UID\r\nTAG OK x\r\n", "UID SEARCH": "TAG NO x\r\n"}), source.Since{}, "", "refused"},
		"illegible, no word":  {usual(script{all: "* 1 FETCH (UID\r\nTAG OK x\r\n"}), source.Since{}, "", "search_unanswered"},
		"odd date and size":   {usual(script{all: "* 1 FETCH (UID 10 INTERNALDATE \"32-Foo-2026\" RFC822.SIZE x)\r\nTAG OK x\r\n"}), source.Since{}, "[10]", ""},
		"refused":             {usual(script{all: "TAG NO [INUSE] wait\r\n"}), source.Since{}, "", "in_use"},
		"empty folder":        {examine("* 0 EXISTS\r\n* OK [UIDVALIDITY 9]\r\n* OK [UIDNEXT 12]\r\n"), source.Since{}, "[]", ""},
		"no UIDVALIDITY":      {examine("* 2 EXISTS\r\n"), source.Since{}, "", "no_uids"},
		"too many":            {examine("* 4000000000 EXISTS\r\n* OK [UIDVALIDITY 9]\r\n"), source.Since{}, "", "folder_too_large"},
		"forbidden":           {usual(script{"EXAMINE": "TAG NO [NOPERM] no\r\n", "LIST": "* LIST () \".\" INBOX\r\nTAG OK x\r\n"}), source.Since{}, "", "no_permission"},
		"down":                {usual(script{"EXAMINE": "TAG NO [UNAVAILABLE] no\r\n"}), source.Since{}, "", "unavailable"},
		"not for mail":        {usual(script{"EXAMINE": "TAG NO [NONEXISTENT] no\r\n", "LIST": "* LIST (\\Noselect) \".\" INBOX\r\nTAG OK x\r\n"}), source.Since{}, "", "folder_not_selectable"},
		"missing, LIST fails": {usual(script{"EXAMINE": "TAG NO [NONEXISTENT] no\r\n", "LIST": "* LIST () \".\" \"&bad\"\r\nTAG OK x\r\n"}), source.Since{}, "", "folder_missing"},
		"missing":             {usual(script{"EXAMINE": "TAG NO what\r\n", "LIST": strings.Repeat("* LIST () \".\" {7}\r\na&ICg-b\r\n", 50) + "TAG OK x\r\n"}), source.Since{}, "", "folder_missing"},
		"BYE":                 {usual(script{"EXAMINE": "* BYE too many \x1b[31mconnections\r\nCLOSE"}), source.Since{}, "", "server_bye"},
		"sparse UIDs":         {usual(script{"EXAMINE": "* 2 EXISTS\r\n* OK [UIDVALIDITY 9]\r\n* OK [UIDNEXT 4294967295]\r\nTAG OK x\r\n", "UID FETCH 1:10000": "* 1 FETCH (UID 3)\r\nTAG OK x\r\n"}), source.Since{}, "[3]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := scripted(t, tc.script).List(t.Context(), "INBOX", tc.since)
			if _, code, text, hint := fault.Describe(err); code != tc.code {
				t.Fatalf("error: got %s (%s; %s), want %q", code, text, hint, tc.code)
			} else if strings.ContainsAny(text+hint, "\x01\x1b\r\n") || len(text+hint) > 1000 {
				t.Errorf("error %q is not short and printable", text+hint)
			}
			if err != nil {
				return
			}
			uids := []uint32{}
			for _, ref := range l.Refs {
				uids = append(uids, ref.UID)
			}
			if fmt.Sprint(uids) != tc.want {
				t.Errorf("got %v, want %s", uids, tc.want)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	const none = "* OK [CAPABILITY IMAP4rev1"
	for name, tc := range map[string]struct {
		hello  string
		script script
		class  fault.Class
		code   string
	}{
		"SASL-IR":                  {greeting, usual(script{"AUTHENTICATE PLAIN AGFubgBwdw==": "TAG OK x\r\n", "AUTHENTICATE": "TAG NO x\r\n"}), "", ""},
		"LOGIN":                    {none + "] hi\r\n", usual(script{`LOGIN "ann" "pw"`: "TAG OK x\r\n", "LOGIN": "TAG NO x\r\n", "AUTH": "TAG NO x\r\n"}), "", ""},
		"PLAIN in two steps":       {none + " LOGINDISABLED AUTH=PLAIN] hi\r\n", usual(script{"AUTHENTICATE PLAIN": "+\r\n", "": "TAG OK x\r\n"}), "", ""},
		"capabilities asked for":   {"* OK hi\r\n", usual(nil), "", ""},
		"none with OK":             {none + "] hi\r\n", usual(script{"CAPABILITY": "TAG OK x\r\n"}), "", ""},
		"LOGINDISABLED":            {none + " LOGINDISABLED] hi\r\n", usual(nil), fault.Permanent, "login_disabled"},
		"PREAUTH":                  {"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n", usual(nil), fault.Permanent, "preauth"},
		"BYE":                      {"* BYE [UNAVAILABLE] later\r\n", usual(nil), fault.Transient, "unavailable"},
		"BYE without code":         {"* BYE too many\r\n", usual(nil), fault.Transient, "server_bye"},
		"closed":                   {"", script{}, fault.Transient, "deadline"},
		"no IMAP":                  {"220 ESMTP\r\n", usual(nil), fault.Transient, "protocol_error"},
		"NO":                       {greeting, usual(script{"AUTH": "TAG NO wrong\r\n"}), fault.Auth, "authentication_failed"},
		"AUTHENTICATIONFAILED":     {greeting, usual(script{"AUTH": "TAG NO [AUTHENTICATIONFAILED] wrong\r\n"}), fault.Auth, "authentication_failed"},
		"AUTHORIZATIONFAILED":      {greeting, usual(script{"AUTH": "TAG NO [AUTHORIZATIONFAILED] x\r\n"}), fault.Auth, "authorization_failed"},
		"EXPIRED":                  {greeting, usual(script{"AUTH": "TAG NO [EXPIRED] x\r\n"}), fault.Auth, "credentials_expired"},
		"UNAVAILABLE":              {greeting, usual(script{"AUTH": "TAG NO [UNAVAILABLE] x\r\n"}), fault.Transient, "unavailable"},
		"INUSE":                    {greeting, usual(script{"AUTH": "TAG NO [INUSE] x\r\n"}), fault.Transient, "in_use"},
		"LIMIT":                    {greeting, usual(script{"AUTH": "TAG NO [LIMIT] x\r\n"}), fault.Transient, "server_limit"},
		"PRIVACYREQUIRED":          {greeting, usual(script{"AUTH": "TAG NO [PRIVACYREQUIRED] x\r\n"}), fault.Permanent, "privacy_required"},
		"CONTACTADMIN":             {greeting, usual(script{"AUTH": "TAG NO [CONTACTADMIN] x\r\n"}), fault.Permanent, "contact_admin"},
		"BAD":                      {greeting, usual(script{"AUTH": "TAG BAD x\r\n"}), fault.Transient, "refused"},
		"closed after it":          {greeting, usual(script{"AUTH": "CLOSE"}), fault.Transient, "closed_by_server"},
		"BYE instead of an answer": {greeting, usual(script{"AUTH": "* BYE [AUTHENTICATIONFAILED] too often\r\nCLOSE"}), fault.Auth, "authentication_failed"},
		"an odd challenge":         {none + " LOGINDISABLED AUTH=PLAIN] hi\r\n", usual(script{"AUTHENTICATE PLAIN": "+ what?\r\n"}), fault.Transient, "protocol_error"},
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, func(c net.Conn) { tc.script.run(c, tc.hello) })
			if tc.hello == "" {
				p.Timeout = 50 * time.Millisecond
			}
			s, err := new(Opener).Open(t.Context(), p, "ann", "pw")
			if tc.code != "" {
				wantFault(t, err, tc.class, tc.code)
				return
			}
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	_, err := new(Opener).Open(t.Context(), listen(t, func(c net.Conn) { usual(nil).run(c, greeting) }), "ann", "p\x00w")
	wantFault(t, err, fault.Permanent, "credentials_invalid")
}

// A LOGOUT that is not answered must not hold up Close.
func TestCloseOfASilentServer(t *testing.T) {
	p := listen(t, func(c net.Conn) { usual(script{"LOGOUT": "HANG"}).run(c, greeting) })
	p.Timeout = 100 * time.Millisecond
	s, err := new(Opener).Open(t.Context(), p, "ann", "pw")
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.Close(t.Context()), fault.Transient, "deadline")
}

func TestCloseWhenStopping(t *testing.T) {
	s := scripted(t, usual(script{"LOGOUT": "HANG"}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("got %v, want none", err)
	}
}
