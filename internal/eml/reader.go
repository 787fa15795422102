package eml

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// reader reads the structure of a message in one pass over its lines. chain holds the entities that are open, the root
// first; each but the last is a multipart.
type reader struct {
	m      *Message
	octets []byte
	lim    Limits
	eol    byte // what ends a line: LF, or CR in a message without any LF
	parts  int
	fields int // header fields kept
	rescan int // octets that may still be read a second time, to cut at a boundary that was guessed
	chain  []*frame
}

// frame is an open entity.
type frame struct {
	part     *Part
	depth    int
	multi    bool   // a multipart that may have children
	boundary string // "" if it has none
	live     bool   // the boundary can still occur: it was not closed
	after    int    // where its epilogue starts, once it was closed

	guess   string // a line in the preamble that looks like a boundary
	guesses int    // how often it occurs
}

// Read reads a message. It never fails and never returns nil. message/* parts are leaves: they are not entered, also at
// the top. The octets are not copied.
func Read(octets []byte, lim Limits) *Message {
	m := &Message{Octets: octets, lim: lim.orDefault()}
	r := &reader{m: m, octets: octets, lim: m.lim, eol: '\n', rescan: len(octets)}
	if len(octets) == 0 {
		m.add(DefectEmpty, "")
		m.Root = &Part{MediaType: "text/plain", Encoding: EncodingIdentity}
		return m
	}
	start := r.lead()
	headerEOL := r.lineStyle(start)
	body := r.open(start, len(octets), headerEOL)
	r.scan(0, body, len(octets))
	m.Root.Offset = int64(start)
	if len(m.Root.Header) == 0 {
		m.add(DefectNoHeader, "")
	}
	return m
}

// open reads the header of the entity at pos, makes it the last of the chain, and returns where its body starts.
func (r *reader) open(pos, end int, eol byte) int {
	p := &Part{Offset: int64(pos), Encoding: EncodingIdentity, MediaType: "text/plain"}
	f := &frame{part: p}
	parent := r.parent()
	if parent != nil {
		p.Path = strconv.Itoa(len(parent.part.Children) + 1)
		if parent.part.Path != "" {
			p.Path = parent.part.Path + "." + p.Path
		}
		f.depth = parent.depth + 1
		parent.part.Children = append(parent.part.Children, p)
		if parent.part.MediaType == "multipart/digest" {
			p.MediaType = "message/rfc822"
		}
	} else {
		r.m.Root = p
	}
	r.parts++
	if r.parts >= r.lim.Parts && parent != nil {
		r.m.add(DefectPartsLimit, p.Path)
		p.MediaType = "application/octet-stream"
		p.BodyOffset = int64(pos)
		r.chain = append(r.chain, f)
		return end // the rest is its body
	}
	header, body, bad := r.readHeader(pos, end, eol)
	p.Header, p.BodyOffset = header, int64(body)
	for _, code := range headerDefects {
		if bad[code] {
			r.m.add(code, p.Path)
		}
	}
	r.describe(p)
	r.multipart(f)
	r.chain = append(r.chain, f)
	return body
}

// headerDefects are the codes that readHeader gives, in the order in which they are noted.
//
//nolint:gochecknoglobals // a table that nothing changes
var headerDefects = [...]string{
	DefectHeaderLimit, DefectMixedLineEnds, DefectBadFieldName, DefectBadHeaderLine, DefectNoSeparator,
}

// parent returns the multipart that the next entity belongs to; nil at the top.
func (r *reader) parent() *frame {
	if len(r.chain) == 0 {
		return nil
	}
	return r.chain[len(r.chain)-1]
}

// multipart makes f ready for children if it is a multipart that may have some.
func (r *reader) multipart(f *frame) {
	p := f.part
	if !strings.HasPrefix(p.MediaType, "multipart/") {
		return
	}
	if f.depth >= r.lim.Depth {
		r.m.add(DefectDepthLimit, p.Path)
		return
	}
	f.multi = true
	f.boundary = strings.TrimRight(p.Params["boundary"], " \t")
	f.live = f.boundary != ""
	if !f.live {
		r.m.add(DefectNoBoundary, p.Path)
	}
	for _, above := range r.chain {
		if f.live && above.multi && above.boundary == f.boundary {
			r.m.add(DefectCollision, p.Path)
			return
		}
	}
}

// scan reads the lines of [pos, end) that may be boundaries, and closes all entities of the chain from base on.
func (r *reader) scan(base, pos, end int) {
	for pos < end {
		at := r.dashLine(pos, end)
		if at < 0 {
			break
		}
		next := r.lineEnd(at, end, r.eol)
		line := trimEOL(r.octets[at:next])
		i, closing := r.match(line)
		if i < base {
			r.consider(line, next, end)
			pos = next
			continue
		}
		r.closeAbove(i+1, r.beforeEOL(at))
		f := r.chain[i]
		if len(f.part.Children) == 0 {
			f.part.Preamble = r.between(int(f.part.BodyOffset), r.beforeEOL(at))
		}
		if closing {
			f.live, f.part.Closed, f.after = false, true, next
			pos = next
			continue
		}
		pos = r.open(next, end, r.eol)
	}
	r.closeAbove(base, end)
}

// match finds the open multipart, the innermost first, whose boundary the line is. It returns -1 if there is none.
// Text after the boundary is ignored (RFC 2046 section 5.1.1) where a blank sets it apart: boundaries are often made
// by adding to that of the multipart around.
func (r *reader) match(line []byte) (index int, closing bool) {
	if !bytes.HasPrefix(line, []byte("--")) {
		return -1, false
	}
	token := bytes.TrimRight(line[2:], " \t\r")
	if i, closing := r.matchToken(token); i >= 0 {
		return i, closing
	}
	if blank := bytes.IndexAny(token, " \t"); blank > 0 {
		return r.matchToken(token[:blank])
	}
	return -1, false
}

func (r *reader) matchToken(token []byte) (index int, closing bool) {
	for i, f := range slices.Backward(r.chain) {
		if !f.live {
			continue
		}
		n := len(f.boundary)
		switch {
		case len(token) == n && string(token) == f.boundary:
			return i, false
		case len(token) == n+2 && string(token[:n]) == f.boundary && token[n] == '-' && token[n+1] == '-':
			return i, true
		}
	}
	return -1, false
}

// consider remembers a line in the preamble of a multipart that looks like a boundary of another name.
func (r *reader) consider(line []byte, next, end int) {
	f := r.chain[len(r.chain)-1]
	if !f.multi || len(f.part.Children) > 0 {
		return
	}
	const longest = 200
	token := bytes.TrimRight(line[2:], " \t\r")
	if len(token) == 0 || len(token) > longest+2 || bytes.IndexByte(token, ' ') >= 0 {
		return
	}
	if f.guess != "" {
		if string(token) == f.guess || string(bytes.TrimSuffix(token, []byte("--"))) == f.guess {
			f.guesses++
		}
		return
	}
	if len(bytes.Trim(token, "-_=*#")) == 0 {
		return // a rule
	}
	after := trimEOL(r.octets[next:r.lineEnd(next, end, r.eol)])
	if name, _ := fieldName(after); len(after) == 0 || name != nil {
		f.guess, f.guesses = string(token), 1
	}
}

// closeAbove closes the entities of the chain from index n on: their bodies end at end.
func (r *reader) closeAbove(n, end int) {
	for len(r.chain) > n {
		f := r.chain[len(r.chain)-1]
		r.chain = r.chain[:len(r.chain)-1]
		p := f.part
		// Two boundaries in a row share a line end: what is between them has no octets.
		p.Offset, p.BodyOffset = min(p.Offset, int64(end)), min(p.BodyOffset, int64(end))
		p.BodyLength = int64(end) - p.BodyOffset
		switch {
		case f.multi && len(p.Children) == 0:
			r.noChildren(f, end)
		case f.multi && p.Closed:
			p.Epilogue = r.between(f.after, end)
		case f.multi:
			r.m.add(DefectNoClose, p.Path)
		default:
			r.inner(p)
		}
	}
}

// noChildren is what becomes of a multipart whose boundary never occurred: it is cut at another line that looks like
// its boundary if that occurs at least twice, and else is text.
func (r *reader) noChildren(f *frame, end int) {
	p := f.part
	if f.boundary != "" {
		r.m.add(DefectNoStart, p.Path)
	}
	start := int(p.BodyOffset)
	if p.Closed || f.guesses < 2 || end-start > r.rescan || r.parts >= r.lim.Parts {
		r.leaf(p)
		return
	}
	r.rescan -= end - start
	r.m.add(DefectBoundaryGuessed, p.Path)
	again := &frame{part: p, depth: f.depth, multi: true, boundary: f.guess, live: true}
	r.chain = append(r.chain, again)
	r.scan(len(r.chain)-1, start, end)
}

// leaf makes text of a multipart that has no parts.
func (r *reader) leaf(p *Part) {
	p.MediaType = "text/plain"
	p.Encoding = EncodingIdentity
	p.Preamble = Span{}
	p.Closed = false
}

// inner looks at the header of a message part, whose multipart may have the boundary of one that is open: then the part
// ends where the inner multipart begins.
func (r *reader) inner(p *Part) {
	if p.Encoding != EncodingIdentity || (p.MediaType != "message/rfc822" && p.MediaType != "message/global") || len(r.chain) == 0 {
		return
	}
	inside := &reader{m: &Message{}, octets: r.octets, lim: r.lim, eol: r.eol}
	header, _, _ := inside.readHeader(int(p.BodyOffset), int(p.BodyOffset+p.BodyLength), r.eol)
	_, params, _ := parseParams(header.Get("Content-Type"))
	boundary := strings.TrimRight(params["boundary"], " \t")
	if boundary == "" {
		return
	}
	for _, above := range r.chain {
		if above.multi && above.boundary == boundary {
			r.m.add(DefectCollision, p.Path)
			return
		}
	}
}

// dashLine returns where the next line that starts with "--" begins; pos is the start of a line. It is -1 if there is
// none.
func (r *reader) dashLine(pos, end int) int {
	rest := r.octets[pos:end]
	if bytes.HasPrefix(rest, []byte("--")) {
		return pos
	}
	if i := bytes.Index(rest, []byte{r.eol, '-', '-'}); i >= 0 {
		return pos + i + 1
	}
	return -1
}

// lineEnd returns where the line after the one at pos begins.
func (r *reader) lineEnd(pos, end int, eol byte) int {
	if i := bytes.IndexByte(r.octets[pos:end], eol); i >= 0 {
		return pos + i + 1
	}
	return end
}

// beforeEOL returns where the line end that precedes the line at pos begins.
func (r *reader) beforeEOL(pos int) int {
	if pos > 0 && r.octets[pos-1] == '\n' {
		pos--
	}
	if pos > 0 && r.octets[pos-1] == '\r' {
		pos--
	}
	return pos
}

// between returns the span [start, end), which is empty if it would be negative.
func (r *reader) between(start, end int) Span {
	return Span{Offset: int64(start), Length: int64(max(end-start, 0))}
}
