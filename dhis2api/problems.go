package dhis2api

import (
	"slices"
	"strings"
)

// ErrorClass says what has to happen before a refused object can be stored.
type ErrorClass string

// The classes of error codes of tracker and data value imports.
const (
	ClassMetadata     ErrorClass = "metadata"     // metadata is missing there, or the account may not see it
	ClassParent       ErrorClass = "parent"       // what it hangs on is not there: fix that first
	ClassAccess       ErrorClass = "access"       // the account may not do this
	ClassOwnership    ErrorClass = "ownership"    // another org unit owns the tracked entity in the program
	ClassUnique       ErrorClass = "unique"       // somebody else has the unique value
	ClassExists       ErrorClass = "exists"       // it is there already
	ClassEnrollment   ErrorClass = "enrollment"   // another enrollment stands against it
	ClassEvent        ErrorClass = "event"        // another event stands against it
	ClassMissing      ErrorClass = "missing"      // it is gone, or never was
	ClassDeleted      ErrorClass = "deleted"      // it is deleted there, and its uid with it
	ClassValue        ErrorClass = "value"        // a value does not fit
	ClassMandatory    ErrorClass = "mandatory"    // something compulsory is missing
	ClassDate         ErrorClass = "date"         // a date or a status does not fit, or it is too late
	ClassCompleted    ErrorClass = "completed"    // it is completed and so closed
	ClassAssignment   ErrorClass = "assignment"   // org unit, program, data set or category do not belong together
	ClassProgramRule  ErrorClass = "programRule"  // a program rule forbids it
	ClassUnclassified ErrorClass = "unclassified" // a code unknown to this package
)

// ClassOf is the class of an error code of a tracker or data value import, from DHIS2 2.41 to 2.43. (Metadata
// imports use some of the same codes for other things.)
func ClassOf(code string) ErrorClass {
	if known, ok := explanations[code]; ok {
		return known.class
	}
	return ClassUnclassified
}

// Explain says in plain words why DHIS2 refuses something with the error code of a tracker or data value
// import, and what can be done. Of args only uids are taken up: the rest may be data of patients. A code that
// is not known is named.
func Explain(code string, args []string) (reason, hint string) {
	known, ok := explanations[code]
	if !ok {
		return "refused by DHIS2 with code " + code, "look the code up in DHIS2's documentation, or ask the administrator of the server"
	}
	reason = known.reason
	var uids []string
	for _, arg := range args {
		for _, uid := range uidsIn(arg) {
			if !slices.Contains(uids, uid) {
				uids = append(uids, uid)
			}
		}
	}
	if len(uids) > 0 {
		reason += " (" + strings.Join(uids, ", ") + ")"
	}
	return reason, hintOf(known.class)
}

func hintOf(class ErrorClass) string {
	switch class {
	case ClassMetadata:
		return "compare the program's metadata on both servers, and the sharing and org units of the account that sends"
	case ClassParent:
		return "solve what keeps the record above from being stored; this one follows"
	case ClassAccess:
		return "ask the administrator to give the account that sends this access, then send again"
	case ClassOwnership:
		return "the patient was transferred: let the facility that has the patient now decide, or transfer back"
	case ClassUnique:
		return "find who holds the number there: the same person (merge the records) or another (give a new number)"
	case ClassExists:
		return "compare both records; if they are the same nothing needs to be done"
	case ClassEnrollment:
		return "look at both enrollments: complete or cancel one, or move the visits into the one that stays"
	case ClassEvent:
		return "compare both visits and keep one, or enter what is missing into the one that is there"
	case ClassMissing:
		return "it was removed there or never arrived: decide whether it is to be entered again"
	case ClassDeleted:
		return "somebody deleted it there: ask why; if it is to live, it must be entered as a new record"
	case ClassValue:
		return "correct the value and send again"
	case ClassMandatory:
		return "fill in what is missing and send again"
	case ClassDate:
		return "correct the date, or ask the administrator to open the period or to send with an account that may edit expired data"
	case ClassCompleted:
		return "reopen it there, or send with an account that may change completed records"
	case ClassAssignment:
		return "ask the administrator to assign the program or data set to the facility, or correct what was chosen"
	case ClassProgramRule:
		return "correct the values that the program rule objects to; the rules of both servers should be the same"
	}
	return ""
}

type explanation struct {
	class  ErrorClass
	reason string
}

// explanations of ValidationCode (DHIS2 2.41 to 2.43) and of the E7600 (up to 2.42) and E8000 (2.43) groups of
// ErrorCode.
var explanations = map[string]explanation{
	"E1000": {ClassAccess, "the facility is outside the org units to which the account may write"},
	"E1001": {ClassAccess, "the account may not write records of this type"},
	"E1002": {ClassExists, "a record with this id exists already"},
	"E1003": {ClassAccess, "the account may not write to this record"},
	"E1005": {ClassMetadata, "the type of the record is not known there"},
	"E1006": {ClassMetadata, "an attribute is not known there"},
	"E1007": {ClassValue, "a value does not fit the type of its attribute, or its file is not there"},
	"E1008": {ClassMetadata, "the program stage belongs to no program there"},
	"E1009": {ClassValue, "the file belongs to another record already"},
	"E1010": {ClassMetadata, "the program of the event is not known there"},
	"E1011": {ClassMetadata, "the facility of the event is not known there"},
	"E1012": {ClassValue, "the place on the map is not of the kind that is expected"},
	"E1013": {ClassMetadata, "the program stage is not known there"},
	"E1014": {ClassAssignment, "the program has no registration, so nobody can be enrolled in it"},
	"E1015": {ClassEnrollment, "the person already has an active enrollment in this program"},
	"E1016": {ClassEnrollment, "the person was already enrolled in this program, which allows it only once"},
	"E1018": {ClassMandatory, "an attribute that the program requires is missing"},
	"E1019": {ClassAssignment, "an attribute does not belong to the program"},
	"E1020": {ClassDate, "the enrollment date is in the future"},
	"E1021": {ClassDate, "the incident date is in the future"},
	"E1022": {ClassAssignment, "the record is not of the type that the program is for"},
	"E1023": {ClassMandatory, "the incident date is missing"},
	"E1025": {ClassMandatory, "the enrollment date is missing"},
	"E1029": {ClassAssignment, "the program is not assigned to the facility of the event"},
	"E1030": {ClassExists, "an event with this id exists already"},
	"E1031": {ClassMandatory, "the date of the event is missing"},
	"E1032": {ClassMissing, "the event is not there"},
	"E1033": {ClassParent, "the event does not say to which enrollment it belongs"},
	"E1039": {ClassEvent, "the visit can take place once only, and there is one already"},
	"E1041": {ClassAssignment, "the program is not assigned to the facility of the enrollment"},
	"E1042": {ClassDate, "the completion date of the event is missing"},
	"E1043": {ClassDate, "the event was completed too long ago to be changed"},
	"E1046": {ClassDate, "the event has neither a date nor a due date"},
	"E1047": {ClassDate, "the date of the event lies in a period that is closed"},
	"E1048": {ClassValue, "an id is malformed"},
	"E1049": {ClassMetadata, "the facility of the record is not known there"},
	"E1050": {ClassDate, "the due date of the event is missing"},
	"E1051": {ClassDate, "the event has a completion date without being completed"},
	"E1052": {ClassDate, "the enrollment has a completion date without being completed"},
	"E1054": {ClassAssignment, "the category combination of the event does not belong to the program"},
	"E1055": {ClassAssignment, "the program requires a category, and none is chosen"},
	"E1056": {ClassDate, "the event lies before the category option begins"},
	"E1057": {ClassDate, "the event lies after the category option ends"},
	"E1063": {ClassMissing, "the person is not there"},
	"E1064": {ClassUnique, "somebody else already has this unique value"},
	"E1068": {ClassParent, "the person to be enrolled is not there"},
	"E1069": {ClassMetadata, "the program of the enrollment is not known there"},
	"E1070": {ClassMetadata, "the facility of the enrollment is not known there"},
	"E1074": {ClassValue, "the place on the map cannot be understood"},
	"E1075": {ClassValue, "a value does not say of which attribute it is"},
	"E1076": {ClassMandatory, "something compulsory is empty"},
	"E1077": {ClassValue, "a text is too long"},
	"E1079": {ClassAssignment, "the event and its enrollment are of different programs"},
	"E1080": {ClassExists, "an enrollment with this id exists already"},
	"E1081": {ClassMissing, "the enrollment is not there"},
	"E1082": {ClassDeleted, "the event was deleted there"},
	"E1083": {ClassCompleted, "the account may not change completed events"},
	"E1084": {ClassValue, "the file is not there"},
	"E1085": {ClassValue, "a value does not fit the type of its attribute"},
	"E1089": {ClassAssignment, "the program stage does not belong to the program"},
	"E1090": {ClassMandatory, "an attribute that the type of the record requires is missing"},
	"E1091": {ClassAccess, "the account may not write in this program"},
	"E1095": {ClassAccess, "the account may not write in this program stage"},
	"E1096": {ClassAccess, "the account may not read in this program"},
	"E1099": {ClassAccess, "the account may not use this category option"},
	"E1100": {ClassAccess, "the account may not delete a person who has enrollments"},
	"E1102": {ClassOwnership, "another facility is responsible for the person in this program"},
	"E1103": {ClassAccess, "the account may not delete an enrollment that has events"},
	"E1104": {ClassAccess, "the account may not read in this program or records of this type"},
	"E1112": {ClassValue, "the attribute is confidential, and the server has no encryption set up"},
	"E1113": {ClassDeleted, "the enrollment was deleted there"},
	"E1114": {ClassDeleted, "the person was deleted there"},
	"E1115": {ClassMetadata, "the category combination is not known there"},
	"E1116": {ClassMetadata, "a category option is not known there"},
	"E1117": {ClassMetadata, "there is no category combination of these options"},
	"E1118": {ClassValue, "the user to whom the event is assigned is not known there"},
	"E1119": {ClassExists, "the note is there already"},
	"E1120": {ClassAssignment, "events of this program stage cannot be assigned to a user"},
	"E1121": {ClassMandatory, "something that every record needs is missing"},
	"E1122": {ClassMandatory, "something that every enrollment needs is missing"},
	"E1123": {ClassMandatory, "something that every event needs is missing"},
	"E1124": {ClassMandatory, "something that every relationship needs is missing"},
	"E1125": {ClassValue, "a value is not one of the options to choose from"},
	"E1126": {ClassAssignment, "the type of a record cannot be changed"},
	"E1127": {ClassAssignment, "the program or person of an enrollment cannot be changed"},
	"E1128": {ClassAssignment, "the stage or enrollment of an event cannot be changed"},
	"E1129": {ClassMetadata, "the category combination is not known there"},
	"E1130": {ClassAssignment, "the category combination of the enrollment does not belong to the program"},
	"E1300": {ClassProgramRule, "a program rule reports an error"},
	"E1301": {ClassProgramRule, "a program rule requires a value that is missing"},
	"E1302": {ClassValue, "a value does not fit the type of its data element"},
	"E1303": {ClassMandatory, "a compulsory value is missing"},
	"E1304": {ClassMetadata, "a data element is not known there"},
	"E1305": {ClassMetadata, "a data element does not belong to the program stage there"},
	"E1306": {ClassProgramRule, "a program rule requires an attribute that is missing"},
	"E1307": {ClassProgramRule, "a program rule calculates another value than the one sent"},
	"E1308": {ClassProgramRule, "a program rule replaces a value"},
	"E1309": {ClassProgramRule, "a program rule calculates another attribute value than the one sent"},
	"E1310": {ClassProgramRule, "a program rule replaces an attribute value"},
	"E1313": {ClassParent, "the event belongs to an enrollment without a person"},
	"E1314": {ClassProgramRule, "a program rule requires a value that was emptied"},
	"E1315": {ClassDate, "an event of this status cannot hold values"},
	"E1316": {ClassDate, "the status of the event cannot change like this"},
	"E1317": {ClassProgramRule, "a program rule requires an attribute that was emptied"},
	"E1318": {ClassDate, "an event without registration cannot have this status"},
	"E1319": {ClassProgramRule, "a program rule works with a date that is none"},
	"E1320": {ClassProgramRule, "a program rule schedules an event"},
	"E1321": {ClassProgramRule, "a program rule would schedule an event that the account may not write"},
	"E1322": {ClassProgramRule, "a program rule would schedule an event that exists already"},
	"E1323": {ClassAccess, "the account has access to no program"},
	"E1324": {ClassOwnership, "other facilities are responsible for the person in all programs of the account"},
	"E1326": {ClassCompleted, "the event is completed and its form is closed"},
	"E4000": {ClassAssignment, "a record cannot be related to itself"},
	"E4001": {ClassAssignment, "an end of the relationship is not exactly one record"},
	"E4006": {ClassMetadata, "the type of relationship is not known there"},
	"E4010": {ClassAssignment, "an end of the relationship is not of the kind that its type requires"},
	"E4012": {ClassParent, "an end of the relationship is not there"},
	"E4014": {ClassAssignment, "an end of the relationship is not of the type that is required"},
	"E4015": {ClassExists, "the relationship is there already"},
	"E4016": {ClassMissing, "the relationship is not there"},
	"E4017": {ClassDeleted, "the relationship was deleted there"},
	"E4018": {ClassExists, "the two are related like this already"},
	"E4020": {ClassAccess, "the account may not write this relationship"},
	"E5000": {ClassParent, "what it belongs to could not be stored"},

	"E7600": {ClassMetadata, "the data set is not known there, or the account may not see it"},
	"E7601": {ClassAccess, "the account may not enter data into this data set"},
	"E7602": {ClassMandatory, "the data set is missing"},
	"E7603": {ClassMetadata, "the facility is not known there, or the account may not see it"},
	"E7604": {ClassMetadata, "the category combination is not known there, or the account may not see it"},
	"E7610": {ClassMetadata, "the data element is not known there, or the account may not see it"},
	"E7611": {ClassValue, "the period is malformed"},
	"E7612": {ClassMetadata, "the facility is not known there, or the account may not see it"},
	"E7613": {ClassMetadata, "the category combination is not known there, or the account may not write to it"},
	"E7614": {ClassAccess, "the account may not use a category option"},
	"E7615": {ClassMetadata, "the category combination of the form is not known there, or the account may not write to it"},
	"E7616": {ClassAccess, "the account may not use a category option of the form"},
	"E7617": {ClassAccess, "the facility is outside the org units of the account"},
	"E7618": {ClassMandatory, "there is neither a value nor a comment"},
	"E7619": {ClassValue, "the value does not fit the type of its data element"},
	"E7620": {ClassValue, "the comment cannot be stored"},
	"E7621": {ClassValue, "the value is not one of the options to choose from"},
	"E7622": {ClassAccess, "the account has no org units for data"},
	"E7630": {ClassMandatory, "the category combination is missing"},
	"E7631": {ClassMandatory, "the category combination of the form is missing"},
	"E7632": {ClassAssignment, "the period is not of the kind that the data element is reported by"},
	"E7633": {ClassAssignment, "the data element does not belong to the data set"},
	"E7634": {ClassAssignment, "the category combination does not belong to the data element"},
	"E7635": {ClassAssignment, "the category combination of the form does not belong to the data set"},
	"E7636": {ClassAssignment, "no data set with this data element is assigned to the facility"},
	"E7637": {ClassValue, "the name of who stored it cannot be stored"},
	"E7638": {ClassDate, "the period lies outside the dates of the category option"},
	"E7639": {ClassAssignment, "the category option is not meant for the facility"},
	"E7640": {ClassDate, "the period is closed: its days for late entry are over"},
	"E7641": {ClassDate, "the period lies too far in the future"},
	"E7642": {ClassDate, "the data is approved and so closed"},
	"E7643": {ClassDate, "the period is not open for this data set now"},
	"E7644": {ClassDate, "the period is not among the open periods of the data set"},
	"E7645": {ClassMissing, "there is no value to which the file belongs"},

	"E8000": {ClassValue, "some values cannot be stored, and so none was"},
	"E8002": {ClassAssignment, "the values belong to several data sets"},
	"E8003": {ClassAssignment, "no data set has this data element"},
	"E8004": {ClassValue, "the id of the data set is malformed"},
	"E8005": {ClassMetadata, "the data set is not known there"},
	"E8008": {ClassDate, "the completion date is malformed"},
	"E8009": {ClassMandatory, "a completion needs data set, facility, period and category"},
	"E8010": {ClassAccess, "the account may not enter data into this data set"},
	"E8011": {ClassAccess, "the account may not enter data for this facility"},
	"E8012": {ClassAccess, "the account may not use a category option"},
	"E8020": {ClassAssignment, "the data element does not belong to the data set"},
	"E8021": {ClassAssignment, "the period is not of the kind that the data set is reported by"},
	"E8022": {ClassAssignment, "the data set is not assigned to the facility"},
	"E8023": {ClassAssignment, "the category combination of the form does not belong to the data set"},
	"E8024": {ClassAssignment, "the category combination does not belong to the data element"},
	"E8025": {ClassAssignment, "the category option is not meant for the facility"},
	"E8030": {ClassDate, "the period is not open for this data set now"},
	"E8031": {ClassDate, "the facility is not open in this period"},
	"E8032": {ClassDate, "the period lies outside the dates of the category option"},
	"E8033": {ClassDate, "the data is approved and so closed"},
	"E8100": {ClassMandatory, "the period is missing"},
	"E8101": {ClassMandatory, "the data set is missing"},
	"E8102": {ClassMandatory, "the data element is missing"},
	"E8103": {ClassMetadata, "the data element is not known there"},
	"E8104": {ClassValue, "the id of the data element is malformed"},
	"E8105": {ClassMandatory, "the facility is missing"},
	"E8106": {ClassValue, "the id of the facility is malformed"},
	"E8107": {ClassMetadata, "the facility is not known there"},
	"E8108": {ClassMetadata, "the category combination is not known there"},
	"E8109": {ClassValue, "the id of the category combination is malformed"},
	"E8110": {ClassMetadata, "the category combination of the form is not known there"},
	"E8111": {ClassValue, "the id of the category combination of the form is malformed"},
	"E8120": {ClassMandatory, "the value is missing"},
	"E8121": {ClassMandatory, "there is neither a value nor a comment"},
	"E8122": {ClassValue, "the value does not fit the type of its data element"},
	"E8123": {ClassValue, "the value is not one of the options to choose from"},
	"E8124": {ClassValue, "the comment is not one of the options to choose from"},
	"E8125": {ClassValue, "the comment is too long"},
	"E8126": {ClassMetadata, "the category combination is not known there"},
	"E8127": {ClassMetadata, "there is no category combination of these options"},
	"E8128": {ClassExists, "the same value is sent more than once"},
}
