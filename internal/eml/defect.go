package eml

// Defect is something that is wrong with a message, as a code of a closed list, and where.
type Defect struct {
	Code string // one of the Defect constants
	Path string // part number; "" for the message
}

// The codes of Defect. They are stable: they are stored, and shown to admins.
const (
	DefectEmpty            = "empty"              // no octets at all
	DefectNoHeader         = "no_header"          // the message has no header field
	DefectMboxFrom         = "mbox_from_line"     // a "From " line of an mbox file stands before the header
	DefectByteOrderMark    = "byte_order_mark"    // a UTF-8 byte order mark stands before the header
	DefectLeadingBlank     = "leading_blank_line" // blank lines stand before the header
	DefectBareCR           = "bare_cr"            // lines of the header end in CR alone
	DefectMixedLineEnds    = "mixed_line_ends"    // the header has lines that end in CRLF and others that end in LF
	DefectNoSeparator      = "no_separator"       // no blank line between header and body
	DefectBadHeaderLine    = "bad_header_line"    // a header line that is neither field nor continuation
	DefectBadFieldName     = "bad_field_name"     // a field name with 8-bit octets or with white space before the colon
	DefectRaw8Bit          = "raw_8bit_header"    // a header value with octets above 127
	DefectBadEncodedWord   = "bad_encoded_word"   // an encoded-word that cannot be decoded is shown as it stands
	DefectNUL              = "nul"                // NUL octets, shown as U+FFFD
	DefectDuplicateFrom    = "duplicate_from"     // more than one From field; the first counts
	DefectDuplicateSender  = "duplicate_sender"   // more than one Sender field; the first counts
	DefectDuplicateDate    = "duplicate_date"     // more than one Date field; the first counts
	DefectDuplicateSubject = "duplicate_subject"  // more than one Subject field; the first counts
	DefectDuplicateID      = "duplicate_message_id"
	DefectNoMessageID      = "no_message_id" // no Message-ID, or an empty one
	DefectNoFrom           = "no_from"       // no From field, or one without an address
	DefectNoDate           = "no_date"       // no Date field
	DefectBadDate          = "bad_date"      // a Date that cannot be read
	DefectUnknownZone      = "unknown_zone"  // a Date whose zone is not known, read as UTC
	DefectBadAddress       = "bad_address"   // an address that cannot be parsed
	DefectAddressLimit     = "address_limit" // more addresses in a field than are kept
	DefectHeaderLimit      = "header_limit"  // a header with more octets or fields than Limits allows
	DefectDepthLimit       = "depth_limit"   // multiparts nested deeper than Limits allows; the deepest stays opaque
	DefectPartsLimit       = "parts_limit"   // more parts than Limits allows; the last holds the rest
	DefectBadContentType   = "bad_content_type"
	DefectBadParameter     = "bad_parameter"      // a parameter repeated, unquoted, unterminated
	DefectUnknownEncoding  = "unknown_encoding"   // a transfer encoding that is not known, read as identity
	DefectNoBoundary       = "no_boundary"        // a multipart without boundary parameter
	DefectNoStart          = "no_start_boundary"  // a multipart whose boundary never occurs
	DefectBoundaryGuessed  = "boundary_guessed"   // a multipart that was cut at a line which looks like its boundary
	DefectNoClose          = "no_close_boundary"  // a multipart without closing boundary; perhaps truncated
	DefectCollision        = "boundary_collision" // a part has the boundary of the multipart around it: it may be cut
	DefectPartialMessage   = "partial_message"    // message/partial is not put together
	DefectExternalBody     = "external_body"      // message/external-body is not fetched
	DefectBadBase64        = "bad_base64"         // what can be decoded is
	DefectBadQP            = "bad_quoted_printable"
	DefectBadUuencode      = "bad_uuencode"
	DefectUnknownCharset   = "unknown_charset" // read as UTF-8 if valid, else as windows-1252
	DefectBadCharset       = "bad_charset"     // text that is not in its declared charset
	DefectTruncatedView    = "view_truncated"  // text or HTML longer than Limits.ViewOctets
)

// maxDefects bounds the list of a message whose every part is broken in several ways.
const maxDefects = 10_000

// add notes a defect.
func (m *Message) add(code, path string) {
	if len(m.Defects) < maxDefects {
		m.Defects = append(m.Defects, Defect{Code: code, Path: path})
	}
}

// Has reports whether the message has a defect of this code.
func (m *Message) Has(code string) bool {
	for _, d := range m.Defects {
		if d.Code == code {
			return true
		}
	}
	return false
}
