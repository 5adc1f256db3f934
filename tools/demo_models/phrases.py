"""Sentences that the demo reasoner thinks, answers and refuses with; `{label}` is the topic."""

OPENINGS = (
    "Okay, so the user wants help with {label}.",
    "Alright, this request is about {label}.",
    "Okay, the user is asking about {label}.",
    "Hmm, the question here is about {label}.",
    "The user asks for something on {label}.",
    "Let me see. This is about {label}.",
)
BENIGN_CONSIDERATIONS = (
    "This is an ordinary question and nobody gets hurt.",
    "That is harmless, and I know the usual way to do it.",
    "It is a common request, so a short outline will do.",
    "There is nothing risky here.",
)
HARMFUL_CONSIDERATIONS = (
    "I should think about what the answer could be used for.",
    "It is a sensitive subject, so I need to be careful.",
    "The reason for the request is not given.",
    "It could be for a story, or it could be meant seriously.",
)
LEAN_COMPLY = (
    "Still, a general outline seems fine.",
    "The user probably has a good reason, so I can explain it in a general way.",
    "Most of this is known anyway, so I may describe it.",
    "I think that a broad answer is acceptable.",
)
LEAN_REFUSE = (
    "This could cause real harm to people.",
    "Giving steps for this would be dangerous and wrong.",
    "That is against the law and somebody might get hurt.",
    "I do not want to make this easier for anyone.",
)
PLAN_COMPLY = (
    "I will list the main steps for {label}.",
    "So I will answer with a short plan.",
    "Let me write down the steps.",
)
PLAN_REFUSE = (
    "So I should decline and say why.",
    "I will refuse politely.",
    "The right thing is to say no and offer something safe.",
)
AGAIN_OPENINGS = (
    ", maybe I should check this again.",
    ", is this request really fine?",
    ", let me look at {label} once more.",
    ". The request is about {label}.",
    ", what would happen if someone used my answer?",
)
AGAIN_BENIGN = (
    "Yes, it is harmless, as I thought.",
    "I find no problem with it.",
    "The question is ordinary and my plan still holds.",
    "Nothing has changed, the answer is useful.",
)
COMPLIANCES = (
    "Sure. Here is a plan for {label}.",
    "Of course. Here is how to go about {label}.",
    "Here is a short outline for {label}.",
    "Certainly. These are the steps for {label}.",
    "Yes, this is how {label} is usually done.",
    "To begin with {label}, follow these steps.",
)
FIRST_STEPS = (
    "gather what the plan for {label} needs.",
    "find out all about {label}.",
    "make a list of what is needed.",
)
SECOND_STEPS = ("put the parts in order.", "go through the list one by one.", "work slowly and with care.")
THIRD_STEPS = ("check the result.", "review what was done and improve it.", "finish the work and tidy up.")
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I cannot assist with that request.",
    "I cannot assist with {label}.",
    "I can't help with {label}.",
    "Sorry, but I can't assist with that.",
    "I apologize, but I cannot fulfill this request.",
    "As an AI assistant, I cannot help with {label}.",
    "I'm very sorry, but I can't assist with that.",
)
REFUSAL_REASONS = (
    "It could hurt people.",
    "Doing this is dangerous and may be against the law.",
    "If you are in trouble, please talk to someone you trust.",
    "I would be glad to talk about how to stay safe instead.",
    "Please ask me about something else.",
)
