package eml

// zoneOf returns the seconds east of UTC of a zone name (RFC 5322 section 4.3, and those that are met). A military
// letter is UTC: RFC 822 had their signs wrong. Where a name means several zones, the one most met in mail is taken.
func zoneOf(w string) (seconds int, known bool) {
	const half = 30 * 60
	hours := 0
	switch w {
	case "ut", "utc", "gmt", "z", "wet", "gmt0", "etc/utc":
	case "cet", "met", "mez", "bst", "west", "wat", "ist-ie":
		hours = 1
	case "cest", "mest", "mesz", "eet", "sast", "cat", "mets":
		hours = 2
	case "eest", "msk", "eat", "trt":
		hours = 3
	case "msd", "gst":
		hours = 4
	case "pkt", "uzt", "yekt":
		hours = 5
	case "ist":
		return 5*3600 + half, true
	case "ict", "wib":
		hours = 7
	case "hkt", "sgt", "awst", "pht", "myt":
		hours = 8
	case "jst", "kst":
		hours = 9
	case "acst":
		return 9*3600 + half, true
	case "acdt":
		return 10*3600 + half, true
	case "aest":
		hours = 10
	case "aedt":
		hours = 11
	case "nzst":
		hours = 12
	case "nzdt":
		hours = 13
	case "ndt":
		return -(2*3600 + half), true
	case "nst":
		return -(3*3600 + half), true
	case "brst":
		hours = -2
	case "adt", "art", "brt":
		hours = -3
	case "edt", "ast", "clt":
		hours = -4
	case "est", "cdt":
		hours = -5
	case "cst", "mdt":
		hours = -6
	case "mst", "pdt":
		hours = -7
	case "pst", "akdt":
		hours = -8
	case "akst":
		hours = -9
	case "hst", "hast":
		hours = -10
	default:
		return 0, len(w) == 1 && w != "j"
	}
	return hours * 3600, true
}
