package eml

import (
	"strings"
	"testing"
)

func TestUnflow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		delsp          bool
	}{
		{"paragraph", "one \ntwo \nthree\nfour\n", "one two three\nfour\n", false},
		{"delsp", "on \ne\ntwo\n", "one\ntwo\n", true},
		{"stuffed", " > no quote\n From here\n", "> no quote\nFrom here\n", false},
		{"quotes", "> one \n> two\nthree\n", "> one two\nthree\n", false},
		{"depth changes", "> one \n>> two \nthree\n", "> one \n>> two \nthree\n", false},
		{"signature", "bye \n-- \nAnn\n", "bye \n-- \nAnn\n", false},
		{"quoted signature", "> bye\n> -- \n> Ann\n", "> bye\n> -- \n> Ann\n", false},
		{"end without line end", "one \ntwo ", "one two ", false},
		{"blank lines", "one\n\ntwo\n", "one\n\ntwo\n", false},
		{"empty", "", "", false},
	} {
		if got := unflow(c.in, c.delsp); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHTMLToText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"text", "a &amp; b&nbsp;c", "a & b c\n"},
		{"white space", "  a \n\t b  ", "a b\n"},
		{"paragraphs", "<p>a</p><p>b</p>c", "a\n\nb\n\nc\n"},
		{"divisions", "<div>a</div><div>b<div>c</div></div>", "a\nb\nc\n"},
		{"breaks", "a<br>b<br/>c<br><br><br>d", "a\nb\nc\n\nd\n"},
		{"list", "<ul><li>a</li><li>b</li></ul>c", "- a\n- b\n\nc\n"},
		{"table", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"},
		{"inline", "a<b>b</b>c <i>d</i>", "abc d\n"},
		{"head", "<head><title>t</title><style>p{}</style></head><body>a<script>x<y</script>b</body>", "ab\n"},
		{"comment", "a<!-- <p>no -->b", "ab\n"},
		{"image", "a <img alt=\"logo\" src=x> b", "a logo b\n"},
		{"pre", "<pre>a\n  b</pre>c  d", "a\n  b\n\nc d\n"},
		{"broken", "<p>a<b <c>d</p", "ad\n"},
		{"empty", "<p> </p>", ""},
		{"none", "", ""},
	} {
		if got := htmlToText(c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHTMLToTextDeep(t *testing.T) {
	const depth = 200_000
	start := processorTime(t)
	got := htmlToText(strings.Repeat("<div><b>", depth) + "core" + strings.Repeat("</b></div>", depth))
	if got != "core\n" {
		t.Errorf("got %d octets, want core", len(got))
	}
	if d := processorTime(t) - start; d > slow {
		t.Errorf("it took %s", d)
	}
}
