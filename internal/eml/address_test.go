package eml

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestParseAddresses(t *testing.T) {
	t.Parallel()
	one := func(name, address string) []Address { return []Address{{Name: name, Address: address}} }
	for _, c := range []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{" , ;, ", nil},
		{"a@x.example", one("", "a@x.example")},
		{"<a@x.example>", one("", "a@x.example")},
		{"Ann Lee <a@x.example>", one("Ann Lee", "a@x.example")},
		{`"Lee, Ann" <a@x.example>`, one("Lee, Ann", "a@x.example")},
		{`"Ann \"B\" Lee" <a@x.example>`, one(`Ann "B" Lee`, "a@x.example")},
		{"'Ann Lee' <a@x.example>", one("Ann Lee", "a@x.example")},
		{"Jones' <a@x.example>", one("Jones'", "a@x.example")},
		{"Ann Q. Lee <a@x.example>", one("Ann Q. Lee", "a@x.example")},
		{"a@x.example (Ann Lee)", one("Ann Lee", "a@x.example")},
		{"a@x.example (Ann (B) Lee)", one("Ann (B) Lee", "a@x.example")},
		{"(x) Ann (y) <a@x.example> (z)", one("Ann", "a@x.example")},
		{"<a@x.example> Ann", one("Ann", "a@x.example")},
		{"Ann Lee a@x.example", one("Ann Lee", "a@x.example")},
		{"a@x.example <a@x.example>", one("a@x.example", "a@x.example")},
		{"Ann <@r.example,@s.example:a@x.example>", one("Ann", "a@x.example")},
		{"Ann < a@x.example >", one("Ann", "a@x.example")},
		{"a @ x . example", one("", "a@x.example")},
		{"a@x(comment).example", one("comment", "a@x.example")},
		{"<a@x(comment).example>", one("", "a@x.example")},
		{"Ann <mailto:a@x.example>", one("Ann", "a@x.example")},
		{"Ann [mailto:a@x.example]", one("Ann", "a@x.example")},
		{"<<a@x.example>>", one("", "a@x.example")},
		{"Ann <a@x.example", one("Ann", "a@x.example")},
		{"<'a@x.example'>", one("", "a@x.example")},
		{`"a b"@x.example`, one("", `"a b"@x.example`)},
		{`<"a,b"@x.example>`, one("", `"a,b"@x.example`)},
		{"a@[192.0.2.1]", one("", "a@[192.0.2.1]")},
		{"a@[IPv6:2001:db8::1]", one("", "a@[IPv6:2001:db8::1]")},
		{"A@X.Example", one("", "A@X.Example")},
		{"Daemon <root>", one("Daemon", "root")},
		{"root", one("root", "")},
		{"Ann <>", one("Ann <>", "")},
		{"<>", one("<>", "")},
		{"<not an address>", one("<not an address>", "")},
		{"@x.example", one("@x.example", "")},

		{"=?utf-8?q?J=C3=B6rg?= <a@x.example>", one("Jörg", "a@x.example")},
		{"=?utf-8?q?J=C3=B6rg?=\r\n =?utf-8?q?_Lee?= <a@x.example>", one("Jörg Lee", "a@x.example")},
		{`"=?utf-8?q?J=C3=B6rg?=" <a@x.example>`, one("Jörg", "a@x.example")},
		{"=?utf-8?q?Lee, J=C3=B6rg?= <a@x.example>", one("Lee, Jörg", "a@x.example")},
		{"=?utf-8?q?a=40y.example?= <a@x.example>", one("a@y.example", "a@x.example")},
		{"=?utf-8?q?a=40y.example?=", one("a@y.example", "")},
		{"J\xF6rg <a@x.example>", one("Jörg", "a@x.example")},
		{"J\xC3\xB6rg <a@x.example>", one("Jörg", "a@x.example")},
		{"j\xC3\xB6rg@b\xC3\xBCcher.example", one("", "jörg@bücher.example")},

		{"a@x.example, b@x.example", []Address{{"", "a@x.example"}, {"", "b@x.example"}}},
		{"a@x.example; b@x.example;", []Address{{"", "a@x.example"}, {"", "b@x.example"}}},
		{"a@x.example b@x.example", []Address{{"", "a@x.example"}, {"", "b@x.example"}}},
		{"Ann <a@x.example> Bob <b@x.example>", []Address{{"Ann", "a@x.example"}, {"Bob", "b@x.example"}}},
		{"Ann <a@x.example, Bob <b@x.example>", []Address{{"Ann", "a@x.example"}, {"Bob", "b@x.example"}}},
		{"J\xF6rg <a@x.example>, bare, b@x.example", []Address{{"Jörg", "a@x.example"}, {"bare", ""}, {"", "b@x.example"}}},
		{`"open <a@x.example>, b@x.example`, []Address{{`"open`, "a@x.example"}, {"", "b@x.example"}}},
		{"(open a@x.example, b@x.example", []Address{{"", "(opena@x.example"}}},
		{
			"Team: a@x.example, Bob <b@x.example>; c@x.example",
			[]Address{{"", "a@x.example"}, {"Bob", "b@x.example"}, {"", "c@x.example"}},
		},
		{"Undisclosed recipients:;", nil},
		{"\"A: b\" <a@x.example>", one("A: b", "a@x.example")},
	} {
		got := ParseAddresses(c.in)
		if strings.HasPrefix(c.in, "(open") { // only that nothing is lost
			if len(got) != 2 || got[1].Address != "b@x.example" {
				t.Errorf("%q: got %+v", c.in, got)
			}
			continue
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %+v\nwant %+v", c.in, got, c.want)
		}
	}
}

// TestParseAddressesAny checks that any value gives text, and that a sound address after a comma survives what is before.
func TestParseAddressesAny(t *testing.T) {
	t.Parallel()
	junk := rapid.StringOf(rapid.RuneFrom([]rune(`abc@.,;:<>[]()"\ =?utf-8Q'` + "\u00e4\u0000")))
	rapid.Check(t, func(t *rapid.T) {
		value := junk.Draw(t, "value")
		for _, a := range ParseAddresses(value) {
			if !utf8.ValidString(a.Name+a.Address) || strings.ContainsRune(a.Name+a.Address, 0) {
				t.Fatalf("%q: got %+v", value, a)
			}
			if a.Name == "" && a.Address == "" {
				t.Fatalf("%q: got an address of nothing", value)
			}
		}
	})
	words := rapid.StringOf(rapid.RuneFrom([]rune("abc .\u00e4\xFF")))
	rapid.Check(t, func(t *rapid.T) {
		got := ParseAddresses(words.Draw(t, "words") + ", Ann <a@x.example>")
		if len(got) == 0 || got[len(got)-1] != (Address{"Ann", "a@x.example"}) {
			t.Fatalf("got %+v, want Ann last", got)
		}
	})
}

func TestParseAddressesLimit(t *testing.T) {
	t.Parallel()
	if got := len(ParseAddresses(strings.Repeat("a@b,", 50_000))); got != maxAddresses {
		t.Errorf("got %d addresses, want %d", got, maxAddresses)
	}
}

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"<a@b>", []string{"a@b"}},
		{"<a@b> <c@d>\r\n\t<e@f>", []string{"a@b", "c@d", "e@f"}},
		{"<a@b><c@d>", []string{"a@b", "c@d"}},
		{"<a@b>, <c@d>", []string{"a@b", "c@d"}},
		{"<a@b> <a@b>", []string{"a@b"}},
		{"<long\r\n part@b>", []string{"longpart@b"}},
		{`Ann's message of "Monday" <a@b>`, []string{"a@b"}},
		{"a@b c@d", []string{"a@b", "c@d"}},
		{"a@b,c@d", []string{"a@b", "c@d"}},
		{"noat", []string{"noat"}},
		{"<noat>", []string{"noat"}},
		{"message from yesterday", nil},
		{"<> <a@b>", []string{"a@b"}},
		{"<open", []string{"open"}},
		{"<open <a@b>", []string{"a@b"}},
		{"<a\x00\xFF@b>", []string{"a\uFFFD\uFFFD@b"}},
	} {
		if got := MessageIDs(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
	var many strings.Builder
	for i := range 5000 {
		many.WriteString("<" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y", i/50) + "@z>")
	}
	got := MessageIDs(many.String() + "<last@z>")
	if len(got) != maxIDs || got[len(got)-1] != "last@z" {
		t.Errorf("got %d identifiers, the last %q, want %d, last@z", len(got), got[len(got)-1], maxIDs)
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<a@b>": "a@b", " <a@b> ": "a@b", "a@b": "a@b", "<noat>": "noat", "noat": "noat", "": "", "<>": "", "<a @ b>": "a@b",
		"<a@b> (comment)": "a@b", "<a@b> <c@d>": "a@b", "<a@b": "a@b", "a@b>": "a@b",
	} {
		if got := messageID(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
