-- mod_multicast: a component may send one message for many addresses (XEP-0033), and this server sends a copy to each.
--
-- The message goes to the host that the module is loaded on. The copies are on their way before the component's next stanza is
-- looked at. Only components are served, since whoever may have messages multiplied can flood others.

local st = require "util.stanza";
local jid_prep = require "util.jid".prep;

local xmlns_address = "http://jabber.org/protocol/address";
local max_addresses = module:get_option_number("multicast_max_addresses", 100);
local delivers = { to = true, cc = true, bcc = true };

module:depends("disco");
module:add_feature(xmlns_address);

-- What a copy has of the addresses: those that everybody may see, as delivered; nil if there are none.
local function header(addresses)
	local seen = st.stanza("addresses", { xmlns = xmlns_address });
	for address in addresses:childtags() do
		if address.attr.type ~= "bcc" then
			local copy = st.clone(address);
			if delivers[copy.attr.type] then copy.attr.delivered = "true"; end
			seen:add_direct_child(copy);
		end
	end
	return #seen > 0 and seen or nil;
end

module:hook("message/host", function (event)
	local origin, message = event.origin, event.stanza;
	local addresses = message:get_child("addresses", xmlns_address);
	if not addresses or message.attr.type == "error" then return; end
	if origin.type ~= "component" then
		origin.send(st.error_reply(message, "auth", "forbidden", "Only components may have messages distributed"));
		return true;
	end
	if #addresses.tags > max_addresses then
		origin.send(st.error_reply(message, "modify", "not-acceptable", "More than "..max_addresses.." addresses"));
		return true;
	end

	message:maptags(function (child) if child == addresses then return nil; end return child; end);
	local seen = header(addresses);
	if seen then message:add_direct_child(seen); end
	for address in addresses:childtags("address", xmlns_address) do
		local to = address.attr.jid;
		if to and delivers[address.attr.type] and address.attr.delivered ~= "true" then
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
