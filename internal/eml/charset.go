package eml

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charsetName returns the name under which a charset is known, for those that mail gets wrong or calls otherwise.
func charsetName(label string) string {
	label, _, _ = strings.Cut(label, "*") // the language of RFC 2231 section 5
	label = strings.ToLower(strings.Trim(label, " \t\"'<>;"))
	switch label {
	case "", "us-ascii", "ascii", "us_ascii", "usascii", "ansi_x3.4-1968", "iso-646", "646", "7bit", "8bit", "fakescii",
		"default", "none", "unknown", "unknown-8bit", "x-unknown", "iso-ir-6":
		return "us-ascii"
	case "utf8", "utf-8", "uft-8", "uft8", "utf_8", "utf 8", "utf-8n", "utf8mb4", "unicode-1-1-utf-8", "x-utf-8",
		"unicode", "cp65001", "utf8-mac", "utf-8-mac", "x-unicode20utf8", "iso-10646-utf-8":
		return "utf-8"
	case "utf7", "x-unicode-1-1-utf-7", "unicode-1-1-utf-7", "csutf7":
		return "utf-7"
	case "x-gbk", "gb18030-0", "gb2312-80", "euc-gb2312-cn", "cp936", "ms936", "windows-936", "x-mswin-936":
		return "gb18030"
	case "ks_c_5601", "ksc5601", "ks_c_5601-1987", "ks_c_5601-1989", "cp949", "ms949", "windows-949", "x-windows-949", "5601":
		return "euc-kr"
	case "cp932", "ms932", "windows-932", "shift-jis", "x-ms-cp932", "sjis":
		return "shift_jis"
	case "cp950", "ms950", "windows-950", "x-x-big5", "big5-eten":
		return "big5"
	case "cp50220", "cp50221", "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso2022-jp", "jis", "iso-2022-jp-ms":
		return "iso-2022-jp"
	case "x-mac-roman", "macroman", "mac-roman", "x-mac":
		return "macintosh"
	case "iso-8859-8-i", "iso-8859-8-e", "logical":
		return "iso-8859-8"
	case "x-ansi", "ansi", "win-1252", "x-cp1252", "iso_8859-1", "iso8859-1", "8859-1", "latin-1", "iso-8859", "western":
		return "windows-1252"
	}
	if n, found := strings.CutPrefix(label, "cp-"); found {
		return "cp" + n
	}
	if n, found := strings.CutPrefix(label, "win-"); found {
		return "windows-" + n
	}
	if n, found := strings.CutPrefix(label, "iso_8859_"); found {
		return "iso-8859-" + n
	}
	return label
}

// findEncoding returns the encoding of a charset name, nil if it is not known. What browsers read as a superset
// (iso-8859-1 as windows-1252, gb2312 as gbk) is read so here: the octets in mail are like those in the web.
func findEncoding(name string) encoding.Encoding {
	switch name {
	case "utf-32", "ucs-4":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	case "utf-32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)
	case "utf-32be":
		return utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)
	case "hz-gb-2312", "utf-16": // the web reads them otherwise than mail
		return nil
	}
	enc, err := htmlindex.Get(name)
	if err != nil {
		return nil
	}
	return enc
}

// decodeCharset returns b, which is said to be in the charset label, as UTF-8, and a defect code or "". It never
// fails: what is not in its charset is read as UTF-8 if it is valid, and else as windows-1252. The result may hold NUL.
func decodeCharset(b []byte, label string) (text, defect string) {
	name := charsetName(label)
	switch name {
	case "us-ascii":
		return decodeUnknown(b, DefectBadCharset)
	case "utf-8":
		return decodeUTF8(b)
	case "utf-7":
		return decodeUTF7(b), ""
	case "iso-2022-kr", "iso-2022-cn", "iso-2022-cn-ext", "replacement": // a library would give nothing at all
		text, _ = decodeUnknown(b, "")
		return text, DefectUnknownCharset
	}
	if enc := findEncoding(name); enc != nil {
		if out, err := enc.NewDecoder().Bytes(b); err == nil {
			return checkDecoded(b, out)
		}
	} else if r, err := charset.Reader(name, bytes.NewReader(b)); err == nil {
		if out, err := io.ReadAll(r); err == nil {
			return checkDecoded(b, out)
		}
	}
	text, _ = decodeUnknown(b, "")
	return text, DefectUnknownCharset
}

// checkDecoded returns out unless the decoder stumbled over octets that are valid UTF-8.
func checkDecoded(in, out []byte) (text, defect string) {
	if !bytes.ContainsRune(out, utf8.RuneError) {
		return string(out), ""
	}
	if !isASCII(in) && utf8.Valid(in) {
		return string(in), DefectBadCharset
	}
	return string(out), DefectBadCharset
}

// decodeUTF8 reads b as UTF-8. Where most of what is above ASCII is valid, the rest becomes U+FFFD; else b is not UTF-8.
func decodeUTF8(b []byte) (text, defect string) {
	b = bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))
	if utf8.Valid(b) {
		return string(b), ""
	}
	if good, bad := sequences(b); good >= bad {
		return string(bytes.ToValidUTF8(b, []byte("\uFFFD"))), DefectBadCharset
	}
	return decode1252(b), DefectBadCharset
}

// sequences counts the characters above ASCII that are valid UTF-8, and the octets that are not.
func sequences(b []byte) (good, bad int) {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			bad++
		} else {
			good++
		}
		i += size
	}
	return good, bad
}

// decodeUnknown reads octets whose charset is not known. The defect is given for those that are not ASCII.
func decodeUnknown(b []byte, defect string) (text, code string) {
	if isASCII(b) {
		if escapes(b) {
			if enc := findEncoding("iso-2022-jp"); enc != nil {
				if out, err := enc.NewDecoder().Bytes(b); err == nil && !bytes.ContainsRune(out, utf8.RuneError) {
					return string(out), defect
				}
			}
		}
		return string(b), ""
	}
	if utf8.Valid(b) {
		return string(bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))), defect
	}
	if good, bad := sequences(b); good > 2*bad { // UTF-8 that was cut
		return string(bytes.ToValidUTF8(b, []byte("\uFFFD"))), defect
	}
	return decode1252(b), defect
}

// escapes reports whether b switches to a Japanese character set (RFC 1468).
func escapes(b []byte) bool {
	return bytes.Contains(b, []byte("\x1b$B")) || bytes.Contains(b, []byte("\x1b$@"))
}

func decode1252(b []byte) string {
	out, err := charmap.Windows1252.NewDecoder().Bytes(b)
	if err != nil {
		return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
	}
	return string(out)
}

// sanitise makes s fit for a text column: valid UTF-8 without NUL.
func sanitise(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
