package activity_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/postroom/postroom/internal/activity"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func TestIdentityOfIsTheSameForCopies(t *testing.T) {
	t.Parallel()
	want := activity.IdentityOf("a1@example.com", "ann@example.com", noon, "Hello", "text")
	for name, got := range map[string]activity.Identity{
		"angle brackets":    activity.IdentityOf(" <a1@example.com> ", "ann@example.com", noon, "Hello", "text"),
		"folded":            activity.IdentityOf("<a1@exam\r\n ple.com>", "ann@example.com", noon, "Hello", "text"),
		"From's case":       activity.IdentityOf("a1@example.com", " Ann@Example.COM", noon, "Hello", "text"),
		"another zone":      activity.IdentityOf("a1@example.com", "ann@example.com", noon.In(time.FixedZone("", 7200)), "Hello", "text"),
		"rewritten subject": activity.IdentityOf("a1@example.com", "ann@example.com", noon, "[EXTERN] Hello", "text"),
		"text with footer":  activity.IdentityOf("a1@example.com", "ann@example.com", noon, "Hello", "text\n-- \nfooter"),
	} {
		if got.Key != want.Key {
			t.Errorf("%s: got key %x, want %x", name, got.Key, want.Key)
		}
		if string(got.MessageIDDigest) != string(want.MessageIDDigest) {
			t.Errorf("%s: got digest %x, want %x", name, got.MessageIDDigest, want.MessageIDDigest)
		}
	}
}

func TestIdentityOfTellsApart(t *testing.T) {
	t.Parallel()
	keys := map[[32]byte]string{}
	for name, id := range map[string]activity.Identity{
		"plain":             activity.IdentityOf("a1@example.com", "ann@example.com", noon, "Hello", "text"),
		"another id":        activity.IdentityOf("a2@example.com", "ann@example.com", noon, "Hello", "text"),
		"id's case":         activity.IdentityOf("A1@example.com", "ann@example.com", noon, "Hello", "text"),
		"another From":      activity.IdentityOf("a1@example.com", "bob@example.com", noon, "Hello", "text"),
		"another second":    activity.IdentityOf("a1@example.com", "ann@example.com", noon.Add(time.Second), "Hello", "text"),
		"no date":           activity.IdentityOf("a1@example.com", "ann@example.com", time.Time{}, "Hello", "text"),
		"no id":             activity.IdentityOf("", "ann@example.com", noon, "Hello", "text"),
		"no id, subject":    activity.IdentityOf("", "ann@example.com", noon, "Hullo", "text"),
		"no id, text":       activity.IdentityOf("", "ann@example.com", noon, "Hello", "other"),
		"no id, no date":    activity.IdentityOf("", "ann@example.com", time.Time{}, "Hello", "text"),
		"moved field ends":  activity.IdentityOf("", "nn@example.com", noon, "Helloa", "text"),
		"nothing is given":  activity.IdentityOf("", "", time.Time{}, "", ""),
		"only the text":     activity.IdentityOf("", "", time.Time{}, "", "text"),
		"only the subject":  activity.IdentityOf("", "", time.Time{}, "text", ""),
		"id says text form": activity.IdentityOf("text", "", time.Time{}, "", ""),
	} {
		if other, ok := keys[id.Key]; ok {
			t.Errorf("%s and %s have the same key", name, other)
		}
		keys[id.Key] = name
		if id.Version != activity.IdentityVersion {
			t.Errorf("%s: got version %d, want %d", name, id.Version, activity.IdentityVersion)
		}
	}
}

// The recipe is stored in databases: a key that changes makes every e-mail a new one.
func TestIdentityOfIsPinned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, want string }{
		{"<a1@example.com>", pinnedWithID},
		{"", pinnedWithoutID},
	} {
		id := activity.IdentityOf(c.id, "Ann@example.com", noon, "Hello", "Some\r\n text")
		if got := hex.EncodeToString(id.Key[:]); got != c.want {
			t.Errorf("Message-ID %q: got key %s, want %s: a changed recipe needs a new IdentityVersion", c.id, got, c.want)
		}
	}
}

func TestMessageIDDigest(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("x@y"))
	for _, id := range []string{"x@y", "<x@y>", "\t<x@y>\r\n", "< x@y >"} {
		if got := activity.MessageIDDigest(id); string(got) != string(sum[:16]) {
			t.Errorf("%q: got %x, want %x", id, got, sum[:16])
		}
	}
	for _, id := range []string{"", "<>", " \r\n", "\x00"} {
		if got := activity.MessageIDDigest(id); got != nil {
			t.Errorf("%q: got %x, want nil", id, got)
		}
	}
}

func TestAddressDigest(t *testing.T) {
	t.Parallel()
	if a, b := activity.AddressDigest("Ann@Example.com "), activity.AddressDigest("ann@example.com"); string(a) != string(b) || len(a) != 16 {
		t.Errorf("got %x and %x, want 16 equal octets", a, b)
	}
	if got := activity.AddressDigest(" "); got != nil {
		t.Errorf("blank address: got %x, want nil", got)
	}
}

func TestNormalizeText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                          "",
		" \r\n\t ":                  "",
		"a\r\nb\n\n c\u00a0d ":      "a b c d",
		"zero\u200bwidth\ufeff":     "zerowidth",
		"nul\x00 and bell\a":        "nul and bell",
		"bad \xff octet":            "bad \uFFFD octet",
		"soft\u00adhyphen, Ünïcödé": "softhyphen, Ünïcödé",
	} {
		if got := activity.NormalizeText(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestNormalizeTextProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune(" \t\r\n\u00a0ab\x00\u200b")), 0, 40, -1)).Draw(t, "s")
		n := activity.NormalizeText(s)
		if again := activity.NormalizeText(n); again != n {
			t.Fatalf("not idempotent: %q gives %q gives %q", s, n, again)
		}
		if !utf8.ValidString(n) || strings.ContainsAny(n, "\x00\r\n") || n != strings.TrimSpace(n) {
			t.Fatalf("%q gives %q", s, n)
		}
		if wrapped := activity.NormalizeText(strings.ReplaceAll(n, " ", "\r\n  ")); wrapped != n {
			t.Fatalf("wrapped differently: got %q, want %q", wrapped, n)
		}
	})
}

func TestSameText(t *testing.T) {
	t.Parallel()
	footer := strings.Repeat(" footer", activity.FooterOctets/7)
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"equal", "dear ann", "dear ann", true},
		{"both empty", "", "", true},
		{"footer", "dear ann", "dear ann -- ACME Ltd", true},
		{"short text with footer", "ok", "ok This message is confidential", true},
		{"longest footer", "dear ann", "dear ann" + footer, true},
		{"more than a footer", "dear ann", "dear ann" + footer + " and more", false},
		{"different", "dear ann", "dear bob", false},
		{"within a word", "pay 10", "pay 1000 euros", false},
		{"empty is no prefix", "", "dear ann", false},
	} {
		for _, swap := range []bool{false, true} {
			a, b := c.a, c.b
			if swap {
				a, b = b, a
			}
			if got := activity.SameText(a, b); got != c.want {
				t.Errorf("%s (swapped %t): got %t, want %t", c.name, swap, got, c.want)
			}
			if got := compare(a, b); got != c.want {
				t.Errorf("%s (swapped %t): Compare got %t, want %t", c.name, swap, got, c.want)
			}
		}
	}
}

// compare is Compare as the store uses it: it asks for the known text where the digests cannot tell.
func compare(text, known string) bool {
	c, k := content(text), content(known)
	switch c.Compare(k.Known()) {
	case activity.Same:
		return true
	case activity.NeedsWords, activity.Likely:
		return activity.SameText(c.Text, k.Text)
	case activity.Different:
	}
	return false
}

func content(text string, attachments ...string) *activity.Content {
	list := make([]activity.Attachment, len(attachments))
	for i, a := range attachments {
		list[i].SHA256 = sha256.Sum256([]byte(a))
	}
	c := activity.ContentOf(sha256.Sum256([]byte(text)), text, list, true, "direct")
	return &c
}

func TestCompareHeads(t *testing.T) {
	t.Parallel()
	body := strings.TrimSpace(strings.Repeat("word ", 60))
	for _, c := range []struct {
		name, text, known string
		want              activity.Likeness
	}{
		{"without the footer", body, body + " footer", activity.Likely},
		{"other at once", "x" + body[1:], body + " footer", activity.Different},
		{"other in its second half", body[:290] + "x" + body[291:], body + " footer", activity.Likely},
		{"too short for a head", "ok", "ok footer", activity.NeedsWords},
		{"too short and other", "no", "ok footer", activity.NeedsWords},
		{"with the footer", body + " footer", body, activity.Same},
		{"much shorter", "word", body + strings.Repeat(" footer", 2000), activity.Different},
	} {
		if got := content(c.text).Compare(content(c.known).Known()); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
	if got := content("kept by an older version " + body).Compare(activity.Known{TextOctets: 400}); got != activity.NeedsWords {
		t.Errorf("no heads are kept: got %d, want %d", got, activity.NeedsWords)
	}
	if got := len(content(strings.Repeat("a", 1<<20)).Known().TextHeads); got != 15*8 {
		t.Errorf("heads of 1 MiB: got %d octets, want %d", got, 15*8)
	}
}

func TestCompareAgreesWithSameText(t *testing.T) {
	t.Parallel()
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "é", strings.Repeat("long", 20)}), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		a := strings.Join(words.Draw(t, "a"), " ")
		b := strings.Join(words.Draw(t, "b"), " ")
		if got, want := compare(a, b), activity.SameText(a, b); got != want {
			t.Fatalf("%q and %q: Compare got %t, SameText %t", a, b, got, want)
		}
	})
}

func TestCompareAttachments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		a, b *activity.Content
		want activity.Likeness
	}{
		{"first copy lost them", content("hi"), content("hi", "pdf"), activity.Same},
		{"later copy lost them", content("hi", "pdf"), content("hi"), activity.Same},
		{"rewritten", content("hi", "pdf"), content("hi", "pdf, scanned"), activity.Same},
		{"no text, the same", content("", "a", "b"), content("", "b", "a"), activity.Same},
		{"no text, one lost them", content("", "a"), content(""), activity.Same},
		{"no text, others", content("", "a"), content("", "b"), activity.Different},
		{"text against none", content("hi", "a"), content("", "a"), activity.Different},
	} {
		if got := c.a.Compare(c.b.Known()); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestBetter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		content       activity.Content
		authenticated bool
		attachments   int
		sameWords     bool
		want          bool
	}{
		{"authenticated", activity.Content{Authenticated: true}, false, 5, false, true},
		{"not authenticated, more attachments", activity.Content{Attachments: 5}, true, 0, true, false},
		{"more attachments", activity.Content{Attachments: 2}, false, 1, true, true},
		{"more attachments and other words", activity.Content{Attachments: 2}, false, 1, false, false},
		{"fewer attachments", activity.Content{Attachments: 1}, false, 2, true, false},
		{"as good: the first stays", activity.Content{Authenticated: true, Attachments: 1}, true, 1, true, false},
	} {
		if got := c.content.Better(c.authenticated, c.attachments, c.sameWords); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func BenchmarkNormalizeText(b *testing.B) {
	text := strings.Repeat("A line of text as people write them, not too long.\r\n", 2000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		activity.NormalizeText(text)
	}
}

const (
	pinnedWithID    = "a8e48dc06c7ab21836be6e0fa4fad1e8d7f6b2685e1caae1bd9f958a4ca2104c"
	pinnedWithoutID = "99a9055163af2f5d7ded79ade41e730d647dd568a5246b6635444c282688c047"
)
