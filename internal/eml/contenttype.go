package eml

import "strings"

// describe fills in what the fields of a part's header say about its body (RFC 2045, 2183, 2231).
func (r *reader) describe(p *Part) {
	var names [2]string
	if value := p.Header.Get("Content-Type"); value != "" {
		head, params, ok := parseParams(value)
		if !ok {
			r.m.add(DefectBadParameter, p.Path)
		}
		mediaType, good := mediaTypeOf(head)
		if !good {
			r.m.add(DefectBadContentType, p.Path)
		}
		if mediaType != "" {
			p.MediaType = mediaType
		}
		p.Params, names[1] = params, params["name"]
		if mediaType == "" && names[1] != "" {
			p.MediaType = "application/octet-stream"
		}
	}
	if value := p.Header.Get("Content-Disposition"); value != "" {
		head, params, ok := parseParams(value)
		if !ok {
			r.m.add(DefectBadParameter, p.Path)
		}
		p.Disposition, names[0] = strings.ToLower(head), params["filename"]
	}
	p.Filename = names[0]
	if p.Filename == "" {
		p.Filename = names[1]
	}
	p.ContentID = bracketed(p.Header.Get("Content-ID"))
	r.encoding(p)
	switch p.MediaType {
	case "message/partial":
		r.m.add(DefectPartialMessage, p.Path)
	case "message/external-body":
		r.m.add(DefectExternalBody, p.Path)
	}
}

// encoding reads Content-Transfer-Encoding (RFC 2045 section 6). That of a multipart says nothing about its octets.
func (r *reader) encoding(p *Part) {
	value := p.Header.Get("Content-Transfer-Encoding")
	if value == "" {
		return
	}
	encoding, known := encodingOf(value)
	if !known {
		r.m.add(DefectUnknownEncoding, p.Path)
	}
	if !strings.HasPrefix(p.MediaType, "multipart/") {
		p.Encoding = encoding
	}
}

// encodingOf returns the encoding that a Content-Transfer-Encoding names, also when it is misspelt; identity and false
// if it is not known.
func encodingOf(value string) (encoding string, known bool) {
	value, _, _ = strings.Cut(value, "(")
	value, _, _ = strings.Cut(value, ";")
	letters := make([]byte, 0, 32)
	for _, c := range []byte(strings.ToLower(value)) {
		if (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') {
			letters = append(letters, c)
		}
		if len(letters) == cap(letters) {
			break
		}
	}
	switch string(letters) {
	case "7bit", "8bit", "7bits", "8bits", "binary", "bit7", "bit8", "7bitascii", "none", "plain", "identity", "":
		return EncodingIdentity, true
	case "base64", "b64", "xbase64", "mimebase64", "b":
		return EncodingBase64, true
	case "quotedprintable", "quotedprintible", "quotedprint", "quoted", "qp", "q", "xquotedprintable":
		return EncodingQuotedPrintable, true
	case "uuencode", "xuuencode", "uue", "xuue", "uuencoded", "xuuencoded", "uu":
		return EncodingUuencode, true
	}
	return EncodingIdentity, false
}

// mediaTypeOf returns the media type that a Content-Type starts with, in lower case. What stands after it is of no
// interest here. It returns "" and false if there is none; "text" and "multipart" alone get a subtype.
func mediaTypeOf(head string) (mediaType string, good bool) {
	head = strings.ToLower(strings.Trim(head, " \t\"'"))
	major, rest, slash := strings.Cut(head, "/")
	major = strings.TrimSpace(major)
	rest = strings.TrimSpace(rest)
	n := 0
	for n < len(rest) && isTypeChar(rest[n]) {
		n++
	}
	for i := range len(major) {
		if !isTypeChar(major[i]) {
			return "", false
		}
	}
	switch {
	case major != "" && slash && n > 0:
		return major + "/" + rest[:n], n == len(rest)
	case major == "text":
		return "text/plain", false
	case major == "multipart":
		return "multipart/mixed", false
	}
	return "", false
}

func isTypeChar(c byte) bool {
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strings.IndexByte("-+._!#$&^*'", c) >= 0
}
