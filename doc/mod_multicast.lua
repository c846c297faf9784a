-- mod_multicast: an external component may send one message for many addresses, and this server sends a copy to each.
--
-- The message goes to the host that the module is loaded on, with the addresses as XEP-0033 writes those of type bcc. The copies are on
-- their way before the component's next stanza is looked at. It is no service of XEP-0033: whoever may have messages multiplied can
-- flood others, so that components with a connection of their own are served and nobody else, not what comes by way of rooms either.

local st = require "util.stanza";
local jid_prep = require "util.jid".prep;

local xmlns_address = "http://jabber.org/protocol/address";
local max_addresses = 100;

module:depends("disco");
module:add_feature("urn:tidings:multicast");

local function is_addresses(child)
	return child.name == "addresses" and child.attr.xmlns == xmlns_address;
end

module:hook("message/host", function (event)
	local origin, message = event.origin, event.stanza;
	if origin.type ~= "component" or not origin.conn or message.attr.type == "error" then return; end
	local addresses = message:get_child("addresses", xmlns_address);
	if not addresses then return; end
	if #addresses.tags > max_addresses then
		origin.send(st.error_reply(message, "modify", "not-acceptable", "More than "..max_addresses.." addresses"));
		return true;
	end

	message:maptags(function (child) if is_addresses(child) then return nil; end return child; end);
	for address in addresses:childtags("address", xmlns_address) do
		local to = address.attr.jid;
		if to and address.attr.type == "bcc" then
			local copy = st.clone(message, true);
			if #copy == 0 then -- what is in it is shared by all, as Prosody has one stanza for all resources of an account
				for i = 1, #message do copy:add_direct_child(message[i]); end
			end
			local prepared = jid_prep(to);
			copy.attr.to = prepared or to;
			if prepared then
				local ok, err = pcall(module.send, module, copy, origin);
				if not ok then module:log("error", "The copy for %s: %s", to, err); end -- the others get theirs
			else
				origin.send(st.error_reply(copy, "modify", "jid-malformed", "The destination address is invalid: "..to));
			end
		end
	end
	return true;
end, 10);
