(rule_set (selectors [(class_selector (class_name) @name) (id_selector (id_name) @name)])) @key
(rule_set (selectors (_ [(class_selector (class_name) @name) (id_selector (id_name) @name)]))) @key
(rule_set (selectors (_ (_ [(class_selector (class_name) @name) (id_selector (id_name) @name)])))) @key
(rule_set (selectors (_ (_ (_ [(class_selector (class_name) @name) (id_selector (id_name) @name)]))))) @key
(keyframes_statement (keyframes_name) @name) @key
((declaration (property_name) @name) @variable (#match? @name "^(--|[$@])"))
