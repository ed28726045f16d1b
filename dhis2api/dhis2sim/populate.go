package dhis2sim

import "strings"

// adminUID is the administrator of a fresh server.
const adminUID = "M5zQapPyTZI"

// populate makes what every fresh server has: the administrator, his roles and the default category objects.
func (s *Server) populate() {
	now := s.timestamp(s.now())
	system := "XXXXXSystem"
	if s.minor == 41 {
		system = "system-process"
	}
	shared := func(owner, public string) object {
		return object{"owner": owner, "external": false, "public": public, "users": object{}, "userGroups": object{}}
	}
	put := func(class string, o object) {
		o["created"], o["lastUpdated"] = now, now
		s.metadata.put(class, o)
	}
	authorities := []any{}
	for _, authority := range strings.Fields(superuserAuthorities(s.minor)) {
		authorities = append(authorities, authority)
	}
	const role = "yrB6vc5Ip3r"
	put("userRoles", object{"id": role, "code": "Superuser", "name": "Superuser", "description": "Superuser", "authorities": authorities, "restrictions": []any{}, "sharing": shared(system, "--------")})
	user := literal(classes["users"].defaults)
	for name, value := range (object{
		"id": adminUID, "code": "admin", "username": "admin", "firstName": "admin", "surname": "admin", "userRoles": []any{reference(role)},
		"createdBy": reference(adminUID), "lastUpdatedBy": reference(adminUID), "passwordLastUpdated": now,
	}) {
		user[name] = value
	}
	put("users", user)
	s.setPassword(adminUID, "district")

	const option, category, combo, optionCombo = "xYerKDKCefk", "GLevLNI9wkl", "bjDvmb4bfuf", "HllvX50cXC0"
	put("categoryOptions", object{"id": option, "code": "default", "name": "default", "shortName": "default", "organisationUnits": []any{}, "sharing": shared(system, "rwrw----")})
	put("categories", object{"id": category, "code": "default", "name": "default", "shortName": "default", "dataDimensionType": "DISAGGREGATION", "dataDimension": false, "categoryOptions": []any{reference(option)}, "sharing": shared(system, "rw------")})
	put("categoryCombos", object{"id": combo, "code": "default", "name": "default", "dataDimensionType": "DISAGGREGATION", "skipTotal": false, "categories": []any{reference(category)}, "sharing": shared(system, "rw------")})
	put("categoryOptionCombos", object{"id": optionCombo, "code": "default", "name": "default", "categoryCombo": reference(combo), "categoryOptions": []any{reference(option)}, "ignoreApproval": false})
}

// superuserAuthorities are the authorities of a fresh server's Superuser role.
func superuserAuthorities(minor int) string {
	all := `ALL F_ACCEPT_DATA_LOWER_LEVELS F_APPROVE_DATA F_APPROVE_DATA_LOWER_LEVELS F_CAPTURE_DATASTORE_UPDATE F_DATAVALUE_ADD F_EDIT_EXPIRED
F_ENROLLMENT_CASCADE_DELETE F_EXPORT_DATA F_GENERATE_MIN_MAX_VALUES F_IMPERSONATE_USER F_INDICATOR_MERGE F_INDICATOR_TYPE_MERGE F_INSERT_CUSTOM_JS_CSS
F_LOCALE_ADD F_METADATA_EXPORT F_METADATA_IMPORT F_ORGANISATIONUNIT_MOVE F_ORGANISATION_UNIT_MERGE F_ORGANISATION_UNIT_SPLIT F_ORG_UNIT_PROFILE_ADD
F_PERFORM_ANALYTICS_EXPLAIN F_PERFORM_MAINTENANCE F_PREDICTOR_RUN F_PREVIOUS_IMPERSONATOR_AUTHORITY F_REPLICATE_USER F_RUN_VALIDATION F_SEND_EMAIL
F_SKIP_DATA_IMPORT_AUDIT F_SYSTEM_SETTING F_TEI_CASCADE_DELETE F_TRACKED_ENTITY_INSTANCE_SEARCH_IN_ALL_ORGUNITS F_TRACKED_ENTITY_MERGE F_UNCOMPLETE_EVENT
F_USER_GROUPS_READ_ONLY_ADD_MEMBERS F_USER_VIEW F_VIEW_EVENT_ANALYTICS F_VIEW_SERVER_INFO F_VIEW_UNAPPROVED_DATA`
	if minor == 41 {
		return all + " F_IGNORE_TRACKER_REQUIRED_VALUE_VALIDATION"
	}
	all += ` F_CATEGORY_OPTION_COMBO_MERGE F_CATEGORY_OPTION_MERGE F_DATA_ELEMENT_MERGE F_JOB_LOG_READ F_LEGEND_SET_DELETE F_LEGEND_SET_PRIVATE_ADD
F_LEGEND_SET_PUBLIC_ADD F_LOCALE_DELETE F_METADATA_MANAGE F_MINMAX_DATAELEMENT_ADD F_MOBILE_SENDSMS F_MOBILE_SETTINGS F_OAUTH2_CLIENT_MANAGE
M_dhis-web-app-management`
	if minor == 43 {
		all += " F_CATEGORY_COMBO_MERGE F_CATEGORY_MERGE"
	}
	return all
}

// revision is the source revision that a version was built from.
func (s *Server) revision() string {
	return map[int]string{41: "7a50918", 42: "91f1f41", 43: "9cbfbf3"}[s.minor]
}
