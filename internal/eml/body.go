package eml

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// bodies are the parts of a message as a mail reader takes them.
type bodies struct {
	text        []*Part // what is shown where there is no HTML: text/plain, and text/html where nothing else says it
	html        []*Part // what is shown where there is HTML
	attachments []*Part
}

// chooseBodies decides which leaves are shown and which are attachments. The rules are those of JMAP (RFC 8621 section
// 4.1.4), with a root of multipart/related that need not stand first (RFC 2387 section 3.2).
func (m *Message) chooseBodies() *bodies {
	c := &chooser{}
	c.parts([]*Part{m.Root}, "multipart/mixed", targets{text: true, html: true})
	slices.SortStableFunc(c.attachments, func(a, b *Part) int { return cmp.Compare(a.BodyOffset, b.BodyOffset) })
	return &c.bodies
}

// charset returns the charset of the first body, which is that of raw octets in the header too.
func (b *bodies) charset() string {
	for _, list := range [][]*Part{b.text, b.html} {
		if len(list) > 0 {
			return list[0].Params["charset"]
		}
	}
	return ""
}

// chooser walks the parts. Its depth is that of the structure.
type chooser struct{ bodies }

// targets are the bodies that text may go to. Within one of several alternatives, what follows HTML goes to HTML only,
// and what follows plain text to text only.
type targets struct{ text, html, alternative bool }

// parts sorts the children of a multipart of type parent.
func (c *chooser) parts(list []*Part, parent string, to targets) {
	texts, htmls := len(c.text), len(c.html)
	list = slices.DeleteFunc(slices.Clone(list), nothing)
	alternatives := parent == "multipart/alternative"
	if alternatives {
		list = c.last(list)
		to.alternative = true
	}
	for i, p := range list {
		switch {
		case p.IsMultipart():
			c.parts(related(p), p.MediaType, to)
		case !shown(p, parent, i):
			c.attachments = append(c.attachments, p)
		case alternatives:
			c.form(p, to)
		default:
			c.body(p, &to)
		}
	}
	if !alternatives || !to.text || !to.html {
		return
	}
	// What has only one form is shown in both.
	switch {
	case len(c.text) == texts && len(c.html) > htmls:
		c.text = append(c.text, c.html[htmls:]...)
	case len(c.html) == htmls && len(c.text) > texts:
		c.html = append(c.html, c.text[texts:]...)
	}
}

// nothing reports whether p is what is between two boundaries in a row.
func nothing(p *Part) bool {
	return p.Path != "" && len(p.Header) == 0 && p.BodyLength == 0
}

// form takes a leaf that is one of several alternatives.
func (c *chooser) form(p *Part, to targets) {
	switch {
	case p.MediaType == "text/html" && to.html:
		c.html = append(c.html, p)
	case p.MediaType == "text/plain" && to.text:
		c.text = append(c.text, p)
	default:
		c.attachments = append(c.attachments, p)
	}
}

// body takes a text that is shown.
func (c *chooser) body(p *Part, to *targets) {
	if to.alternative && p.MediaType == "text/html" {
		to.text = false
	} else if to.alternative {
		to.html = false
	}
	if to.text {
		c.text = append(c.text, p)
	}
	if to.html {
		c.html = append(c.html, p)
	}
	if named := p.Disposition != "" && p.Filename != ""; named || (!to.text && !to.html) {
		c.attachments = append(c.attachments, p) // what is shown may be a file all the same
	}
}

// last returns the children of an alternative without those that a later one of the same media type replaces (RFC 2046
// section 5.1.4): these become attachments.
func (c *chooser) last(list []*Part) []*Part {
	latest := make(map[string]*Part, 2)
	for _, p := range list {
		if (p.MediaType == "text/plain" || p.MediaType == "text/html") && p.Disposition != "attachment" {
			latest[p.MediaType] = p
		}
	}
	kept := make([]*Part, 0, len(list))
	for _, p := range list {
		if chosen := latest[p.MediaType]; chosen != nil && chosen != p {
			c.attachments = append(c.attachments, p)
		} else {
			kept = append(kept, p)
		}
	}
	return kept
}

// related returns the children of a multipart, the root of a multipart/related first.
func related(p *Part) []*Part {
	start := bracketed(p.Params["start"])
	if p.MediaType != "multipart/related" || start == "" {
		return p.Children
	}
	for i, child := range p.Children {
		if child.ContentID == start && i > 0 {
			ordered := append([]*Part{child}, p.Children[:i]...)
			return append(ordered, p.Children[i+1:]...)
		}
	}
	return p.Children
}

// shown reports whether the leaf p, number i of a multipart of type parent, is text of the body.
func shown(p *Part, parent string, i int) bool {
	if p.Disposition == "attachment" || !isBodyText(p.MediaType) {
		return false
	}
	return i == 0 || (parent != "multipart/related" && p.Filename == "")
}

// isBodyText reports whether a media type is text that people read. What is not HTML is shown as it stands.
func isBodyText(mediaType string) bool {
	subtype, text := strings.CutPrefix(mediaType, "text/")
	if !text {
		return false
	}
	switch subtype {
	case "calendar", "csv", "vcard", "x-vcard", "directory", "rtf", "xml", "css", "javascript", "x-amp-html",
		"rfc822-headers", "x-moz-deleted", "x-patch", "x-diff", "tab-separated-values":
		return false
	}
	return true
}

// bodies decodes the bodies into the view.
func (b *viewBuilder) bodies(chosen *bodies) {
	v := b.v
	decoded := make(map[*Part]string, len(chosen.text))
	var text, html strings.Builder
	for _, p := range chosen.html {
		if p.MediaType != "text/html" {
			continue
		}
		s, cut := b.text(p, b.m.lim.ViewOctets-int64(html.Len()))
		v.HTMLTruncated = v.HTMLTruncated || cut
		decoded[p] = s
		html.WriteString(s)
	}
	v.HTML = html.String()
	room := b.m.lim.ViewOctets
	for _, p := range chosen.text {
		s, known := decoded[p]
		if !known {
			var cut bool
			s, cut = b.text(p, room-int64(text.Len()))
			v.TextTruncated = v.TextTruncated || cut
		}
		if p.MediaType == "text/html" {
			s = htmlToText(s)
			v.TextTruncated = v.TextTruncated || v.HTMLTruncated
		} else {
			s = plain(s, p.Params)
		}
		join(&text, s)
	}
	v.Text = text.String()
	if v.HTML != "" && strings.TrimSpace(v.Text) == "" {
		v.Text, v.TextTruncated = htmlToText(v.HTML), v.HTMLTruncated
	}
	var cut bool
	v.Text, cut = truncate(v.Text, room)
	v.TextTruncated = v.TextTruncated || cut
	if v.TextTruncated || v.HTMLTruncated {
		b.defect(DefectTruncatedView)
	}
}

// join appends s on a line of its own.
func join(text *strings.Builder, s string) {
	if text.Len() > 0 && s != "" && !strings.HasSuffix(text.String(), "\n") {
		text.WriteByte('\n')
	}
	text.WriteString(s)
}

// text decodes a text part to UTF-8 without NUL, at most room octets of it.
func (b *viewBuilder) text(p *Part, room int64) (text string, cut bool) {
	if room <= 0 {
		return "", p.BodyLength > 0
	}
	encoded := b.m.Encoded(p)
	d := newDecoder(encoded, p.Encoding)
	octets := make([]byte, 0, min(room, int64(len(encoded)))+1)
	octets, cut = readUpTo(octets, d, room)
	if p.Encoding == EncodingBase64 && d.defect() != "" && looksPlain(encoded) {
		octets = encoded[:min(room, int64(len(encoded)))] // not base64 at all
		cut = int64(len(encoded)) > room
	}
	b.defect(d.defect())
	if cut { // not in the middle of a character
		for i := 0; i < utf8.UTFMax && len(octets) > 0 && !utf8.Valid(octets[max(0, len(octets)-utf8.UTFMax):]); i++ {
			octets = octets[:len(octets)-1]
		}
	}
	if bytes.IndexByte(octets, 0) >= 0 && !isWide(p.Params["charset"]) {
		b.defect(DefectNUL)
	}
	charset := p.Params["charset"]
	if charset == "" && p.MediaType == "text/html" {
		charset = metaCharset(octets)
	}
	text, defect := decodeCharset(octets, charset)
	b.defect(defect)
	text, more := truncate(sanitise(text), room)
	return text, cut || more
}

// isWide reports whether NUL octets are of the charset.
func isWide(charset string) bool {
	name := charsetName(charset)
	return strings.HasPrefix(name, "utf-16") || strings.HasPrefix(name, "utf-32") || strings.HasPrefix(name, "ucs")
}

// readUpTo appends at most room octets of r, and reports whether there are more.
func readUpTo(out []byte, r io.Reader, room int64) (octets []byte, more bool) {
	for int64(len(out)) <= room {
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		n, err := r.Read(out[len(out):min(int64(cap(out)), room+1)])
		out = out[:len(out)+n]
		if err != nil {
			return out, false
		}
	}
	return out[:room], true
}

// looksPlain reports whether what is said to be base64 begins with a line of words.
func looksPlain(encoded []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimLeft(encoded, " \t\r\n"), []byte("\n"))
	return bytes.IndexByte(bytes.TrimSpace(line), ' ') > 0
}

// truncate cuts s to at most room octets, between characters.
func truncate(s string, room int64) (text string, cut bool) {
	if int64(len(s)) <= room {
		return s, false
	}
	n := int(room)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

// metaCharset returns the charset that HTML says it has, within its first 1024 octets.
func metaCharset(html []byte) string {
	head := bytes.ToLower(html[:min(len(html), 1024)])
	_, rest, found := bytes.Cut(head, []byte("charset="))
	if !found || (utf8.Valid(html) && !isASCII(html)) {
		return ""
	}
	rest = bytes.TrimLeft(rest, "\"' ")
	if end := bytes.IndexAny(rest, "\"' ;>/"); end >= 0 {
		rest = rest[:end]
	}
	name := charsetName(string(rest))
	if strings.HasPrefix(name, "utf-16") || strings.HasPrefix(name, "utf-32") {
		return "" // it could not have been read as ASCII
	}
	return name
}
