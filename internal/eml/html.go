package eml

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// htmlToText reduces HTML to its text. It goes from token to token, without a tree, so that neither depth nor size of
// the HTML matter.
func htmlToText(s string) string {
	w := &textWriter{}
	w.out.Grow(len(s) / 2)
	z := html.NewTokenizer(strings.NewReader(s))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return w.finish()
		case html.TextToken:
			if w.skip == 0 {
				w.text(string(z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			w.start(atom.Lookup(name), z, more)
		case html.EndTagToken:
			name, _ := z.TagName()
			w.end(atom.Lookup(name))
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

// textWriter collects text. White space is folded, but in <pre>.
type textWriter struct {
	out   strings.Builder
	skip  atom.Atom // the element whose text is not shown, 0 outside
	pre   int
	space bool // white space is owed
	lines int  // line ends are owed
}

// start takes a start tag.
func (w *textWriter) start(tag atom.Atom, z *html.Tokenizer, more bool) {
	if w.skip != 0 {
		return
	}
	switch tag {
	case atom.Script, atom.Style, atom.Title, atom.Template, atom.Noframes, atom.Textarea:
		w.skip = tag
	case atom.Br:
		w.lines = min(w.lines+1, 2)
	case atom.Li:
		w.block(1)
		w.owed()
		w.out.WriteString("- ")
	case atom.Td, atom.Th:
		w.space = true
	case atom.Pre:
		w.block(2)
		w.pre++
	case atom.Img:
		w.alt(z, more)
	case atom.Hr:
		w.block(2)
	default:
		w.block(gap(tag))
	}
}

// end takes an end tag.
func (w *textWriter) end(tag atom.Atom) {
	if w.skip != 0 {
		if tag == w.skip {
			w.skip = 0
		}
		return
	}
	switch tag {
	case atom.Pre:
		w.pre = max(w.pre-1, 0)
		w.block(2)
	case atom.Td, atom.Th:
		w.space = true
	default:
		w.block(gap(tag))
	}
}

// gap returns how many line ends stand before and after an element.
func gap(tag atom.Atom) int {
	switch tag {
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Blockquote, atom.Ul, atom.Ol, atom.Dl, atom.Table:
		return 2
	case atom.Div, atom.Tr, atom.Li, atom.Dt, atom.Dd, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Center,
		atom.Address, atom.Body, atom.Form, atom.Fieldset, atom.Figure, atom.Caption:
		return 1
	default:
		return 0
	}
}

// alt shows what stands for an image.
func (w *textWriter) alt(z *html.Tokenizer, more bool) {
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		if string(key) == "alt" {
			w.text(string(value))
			return
		}
	}
}

// block owes at least n line ends.
func (w *textWriter) block(n int) {
	w.lines = max(w.lines, n)
}

// text writes text.
func (w *textWriter) text(s string) {
	if w.pre > 0 {
		if s != "" {
			w.owed()
			w.out.WriteString(strings.ReplaceAll(s, "\r", ""))
		}
		return
	}
	for len(s) > 0 {
		n := strings.IndexAny(s, " \t\r\n\f\u00A0")
		if n != 0 {
			if n < 0 {
				n = len(s)
			}
			w.owed()
			w.out.WriteString(s[:n])
			s = s[n:]
			continue
		}
		w.space = true
		s = strings.TrimLeft(s, " \t\r\n\f\u00A0")
	}
}

// owed writes the white space that is owed.
func (w *textWriter) owed() {
	switch {
	case w.out.Len() == 0:
	case w.lines > 0:
		w.out.WriteString("\n\n"[:min(w.lines, 2)])
	case w.space:
		w.out.WriteByte(' ')
	}
	w.lines, w.space = 0, false
}

// finish returns the text, its last line ended.
func (w *textWriter) finish() string {
	text := strings.TrimRight(w.out.String(), " \n")
	if text == "" {
		return ""
	}
	return text + "\n"
}
